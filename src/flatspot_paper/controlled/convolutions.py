"""Convolutions and BatchNorm on maps of a few pixels, as matrix products: the same function and gradient, several times as fast on a CPU.

ResNet-18 on 32×32 images ends in maps of 2×2 and 1×1. There a padded 3×3 convolution is one matrix from all inputs to all outputs, made
of its nine taps, and most of the padding's products are not needed: on a 1×1 map only the middle tap has data.
torch computes float32 products with MKL, which uses half of an AMD processor; oneDNN, which torch also ships, uses all of it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.autograd.function import FunctionCtx

_MOST_IN, _MOST_OUT = 16, 4  # pixels of the maps before and after, up to which one matrix is the faster way


class Convolution(nn.Conv2d):  # type: ignore[misc]  # mypy does not follow torch
    """A 3×3 convolution with padding 1, or a 1×1 convolution, without bias; parameters as those of `torch.nn.Conv2d`.

    >>> import torch
    >>> layer, x = Convolution(2, 3, 3, stride=2), torch.randn(5, 2, 2, 2)
    >>> torch.allclose(layer(x), torch.nn.functional.conv2d(x, layer.weight, stride=2, padding=1), atol=1e-6)
    True
    """

    def __init__(self, n_in: int, n_out: int, size: int, stride: int = 1) -> None:
        super().__init__(n_in, n_out, size, stride, size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, n_in, h, h] → [n, n_out, ⌈h/stride⌉, ⌈h/stride⌉]"""
        side, stride = x.shape[-1], self.stride[0]
        out = (side - 1) // stride + 1
        if x.device.type != "cpu" or x.shape[-2] != side:
            return super().forward(x)
        if self.kernel_size[0] == 1:
            rows = x[:, :, ::stride, ::stride].permute(0, 2, 3, 1).reshape(-1, x.shape[1])
            return _as_maps(_product(rows, self.weight.flatten(1)), len(x), out)
        if side * side > _MOST_IN or out * out > _MOST_OUT:
            return super().forward(x)
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.weight.dtype
        matrix = _WholeMap.apply(self.weight, side, stride, kind)
        return _as_maps(_product(x.permute(0, 2, 3, 1).reshape(len(x), -1), matrix), len(x), out)


class BatchNorm(nn.BatchNorm2d):  # type: ignore[misc]  # mypy does not follow torch
    """`torch.nn.BatchNorm2d`, with its own arithmetic for training on 1×1 maps, where torch's is several times slower."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, c, h, w] → [n, c, h, w]"""
        n = len(x)
        if x.device.type != "cpu" or x.shape[2] * x.shape[3] > 1 or n == 1 or not self.training:
            return super().forward(x)
        rows = x.flatten(1).to(self.weight.dtype)
        mean = rows.mean(dim=0)
        centered = rows - mean
        var = centered.square().mean(dim=0)
        if self.track_running_stats:
            self.num_batches_tracked += 1
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (n / (n - 1)), self.momentum)
        out = torch.addcmul(self.bias, centered, self.weight * (var + self.eps).rsqrt())
        return out.to(x.dtype)[:, :, None, None]


def _as_maps(rows: torch.Tensor, n: int, side: int) -> torch.Tensor:
    return rows.view(n, side, side, -1).permute(0, 3, 1, 2)


@cache
def _taps(side: int, stride: int) -> tuple[tuple[int, int, int | None], ...]:
    """(output pixel, input pixel, the tap between them or None) of a 3×3 convolution with padding 1."""
    out = (side - 1) // stride + 1
    taps: list[tuple[int, int, int | None]] = []
    for o in range(out * out):
        for i in range(side * side):
            down, right = i // side - o // out * stride + 1, i % side - o % out * stride + 1
            taps.append((o, i, 3 * down + right if 0 <= down < 3 and 0 <= right < 3 else None))
    return tuple(taps)


class _WholeMap(torch.autograd.Function):  # type: ignore[misc]  # mypy does not follow torch
    """Weights [n_out, n_in, 3, 3] → the matrix [output pixel · n_out, input pixel · n_in] of a type; its gradient is summed by taps."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: torch.Tensor, side: int, stride: int, kind: torch.dtype) -> torch.Tensor:
        ctx.pairs, ctx.kind = _taps(side, stride), weight.dtype
        n_out, n_in = weight.shape[:2]
        taps = weight.permute(0, 2, 3, 1).reshape(n_out, 9, n_in)
        matrix = torch.empty(ctx.pairs[-1][0] + 1, n_out, side * side, n_in, dtype=kind)
        for o, i, tap in ctx.pairs:
            matrix[o, :, i] = 0 if tap is None else taps[:, tap]
        return matrix.flatten(0, 1).flatten(1)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        n_pixels_out, n_pixels_in = (n + 1 for n in ctx.pairs[-1][:2])
        blocks = gradients[0].unflatten(1, (n_pixels_in, -1)).unflatten(0, (n_pixels_out, -1))
        taps = torch.zeros(blocks.shape[1], 9, blocks.shape[3], dtype=ctx.kind)
        for o, i, tap in ctx.pairs:
            if tap is not None:
                taps[:, tap] += blocks[o, :, i]
        return taps.unflatten(1, (3, 3)).permute(0, 3, 1, 2), None, None, None


def _product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x weightᵀ. [n, i], [o, i] → [n, o]"""
    if x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") and _available():
        out: torch.Tensor = _Product.apply(x, weight)
        return out
    return nn.functional.linear(x, weight)


class _Product(torch.autograd.Function):  # type: ignore[misc]  # mypy does not follow torch
    """The product and its two gradients by oneDNN."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        return _onednn(gradient, weight.t()), _onednn(gradient.t(), x.t())


def _onednn(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # any layout but a matrix or its transpose takes oneDNN minutes
    x, weight = (m if m.is_contiguous() or m.t().is_contiguous() else m.contiguous() for m in (x, weight))
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


@cache
def _available() -> bool:
    """Whether this torch has oneDNN's product, and it agrees with torch's own."""
    x, weight = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        return bool(torch.equal(_onednn(x, weight), nn.functional.linear(x, weight)))
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
