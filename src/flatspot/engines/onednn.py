"""Float32 linear layers computed by oneDNN while decoding: the same products, two to three times as fast on a CPU.

torch computes float32 products with MKL, which uses half of an AMD processor. It ships oneDNN too, but only behind operators that its
compiler emits, on prepacked weights. They are used if they exist and agree with the layer; otherwise nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from flatspot.engines.memory import available_bytes

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module

_MEMORY_SHARE = 0.25  # of the free memory, for the prepacked copies
_LEAST = 1 << 14  # weights of a layer, from which prepacking pays off
_AGREE = 1e-3  # greatest difference, on inputs of size 1, relative to the greatest output


class OneDnnLinears:
    """A model's plain float32 linear layers on a CPU, with weights prepacked for oneDNN; empty elsewhere, or if memory is short.

    `model` itself is not changed: its layers compute with oneDNN only inside `in_use()`.
    """

    def __init__(self, model: Module) -> None:
        import torch

        layers = [m for m in model.modules() if type(m) is torch.nn.Linear and _packable(m)]
        size = sum(4 * layer.weight.numel() for layer in layers)
        self._weights: list[tuple[Linear, Tensor]] = []
        if layers and _available() and size <= _MEMORY_SHARE * available_bytes():
            self.refresh(layers)

    def refresh(self, layers: list[Linear] | None = None) -> None:
        """Prepack again, after the model's weights have changed."""
        import torch

        layers = [layer for layer, _ in self._weights] if layers is None else layers
        pack = torch.ops.mkldnn._reorder_linear_weight
        with torch.inference_mode():
            self._weights = [(layer, pack(layer.weight)) for layer in layers]
            if self._weights and not all(_agrees(*self._weights[i]) for i in (0, len(self._weights) // 2, -1)):
                self._weights = []

    def drop(self) -> None:
        """Use the model's own products from here on."""
        self._weights = []

    def __len__(self) -> int:
        return len(self._weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The layers compute with oneDNN until the block ends."""
        for layer, weight in self._weights:
            layer.forward = partial(_product, layer, weight)
        try:
            yield
        finally:
            for layer, _ in self._weights:
                del layer.forward


def _packable(layer: Linear) -> bool:
    import torch

    weight = layer.weight
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= _LEAST
    # a layer whose forward has already been replaced is left alone
    return plain and "forward" not in vars(layer) and not layer._forward_hooks and not layer._forward_pre_hooks


def _available() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available() or torch.get_float32_matmul_precision() != "highest":
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def _product(layer: Linear, weight: Tensor, input: Tensor) -> Tensor:
    import torch

    if input.dtype != torch.float32 or torch.is_autocast_enabled(
        input.device.type
    ):  # a trainer's mixed precision goes on while it is probed
        return torch.nn.functional.linear(input, layer.weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise(input, weight, layer.bias, "none", [], "")


def _agrees(layer: Linear, weight: Tensor) -> bool:
    import torch

    x = torch.linspace(-1, 1, 3 * layer.in_features).reshape(3, layer.in_features)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    gap = (_product(layer, weight, x) - expected).abs().max()
    return bool(gap <= _AGREE * expected.abs().max().clamp(min=1e-6))
