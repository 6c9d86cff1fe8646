"""Linear layers by oneDNN on packed float32 weights, for the time of a decode: the same products, two to three times as fast on a CPU.

In float32 torch's own products go to MKL, which leaves half of an AMD processor unused; torch ships oneDNN too, and has it only through
operators that its compiler emits. They are used where they are there and agree with the layer, else nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flatspot.engines.memory import available_bytes

_MEMORY_SHARE = 0.25  # of the free memory, for the packed copies
_LEAST = 1 << 14  # weights of a layer from which packing pays
_AGREE = 1e-3  # greatest difference, on inputs of size 1, relative to the greatest output


class PackedLinears:
    """The packed weights of a model's plain float32 linear layers on a CPU: none elsewhere, nor without the memory for them.

    `model` itself is not changed: only inside `in_use()` do its layers compute with the packed weights.
    """

    def __init__(self, model: Any) -> None:
        import torch

        layers = [m for m in model.modules() if type(m) is torch.nn.Linear and _packable(m)]
        size = sum(4 * layer.weight.numel() for layer in layers)
        self._weights: list[tuple[Any, Any]] = []
        if layers and _offered() and size <= _MEMORY_SHARE * available_bytes():
            self.refresh(layers)

    def refresh(self, layers: Any = None) -> None:
        """Pack anew, after the model's weights have changed."""
        import torch

        layers = [layer for layer, _ in self._weights] if layers is None else layers
        pack = torch.ops.mkldnn._reorder_linear_weight
        with torch.inference_mode():
            self._weights = [(layer, pack(layer.weight)) for layer in layers]
            if self._weights and not all(_agrees(*self._weights[i]) for i in (0, len(self._weights) // 2, -1)):
                self._weights = []

    def drop(self) -> None:
        """Compute as the model does from here on."""
        self._weights = []

    def __len__(self) -> int:
        return len(self._weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the layers compute with the packed weights until the block ends."""
        for layer, weight in self._weights:
            layer.forward = partial(_product, weight, layer.bias)
        try:
            yield
        finally:
            for layer, _ in self._weights:
                del layer.forward


def _packable(layer: Any) -> bool:
    import torch

    weight = layer.weight
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= _LEAST
    # a layer that somebody already gave a forward of its own is left alone
    return plain and "forward" not in vars(layer) and not layer._forward_hooks and not layer._forward_pre_hooks


def _offered() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available() or torch.get_float32_matmul_precision() != "highest":
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def _product(weight: Any, bias: Any, input: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def _agrees(layer: Any, weight: Any) -> bool:
    import torch

    x = torch.linspace(-1, 1, 3 * layer.in_features).reshape(3, layer.in_features)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    gap = (_product(weight, layer.bias, x) - expected).abs().max()
    return bool(gap <= _AGREE * expected.abs().max().clamp(min=1e-6))
