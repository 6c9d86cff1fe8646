"""Logits → tokens: temperature, top-k, top-p, and a draw whose random number depends on the row alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.records import Sampling

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 256
_MASK = (1 << 64) - 1


def uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float64]:
    """[row, step] numbers in [0, 1): row i is the Philox stream with key `seeds[i]`, independent of the other rows."""
    return np.stack([np.random.Generator(np.random.Philox(key=seed & _MASK)).random(steps) for seed in seeds])


def shape_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits [row, token] after temperature, top-k and top-p in this order, -inf for excluded tokens.

    top-k keeps every token at least as probable as the k-th; top-p keeps a token if the more probable tokens have less than top_p of the
    mass. Both are defined as in transformers.
    """
    import torch

    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kth = torch.topk(logits, sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if sampling.top_p < 1:
        logits = _keep_top_p(logits, sampling.top_p)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row from logits [row, token], the inverse of the cumulative softmax at `uniform` [row]; and its log-probability [row].

    The cumulative sum has two levels, blocks of 256 tokens in float64 and then one block: one pass over the vocabulary, and no token's
    probability is lost to rounding, as it would be in one float32 sum over 49k tokens.
    Raises FloatingPointError if the logits define no distribution: one is NaN or +inf, or all are -inf.
    """
    import torch

    weights = torch.softmax(logits.float(), dim=-1)
    if bool(weights[:, 0].isnan().any()):  # softmax makes the whole row NaN
        raise FloatingPointError("the policy's logits are NaN or infinite")
    rows, size = weights.shape
    weights = torch.nn.functional.pad(weights, (0, -size % _BLOCK)).view(rows, -1, _BLOCK)
    block_sums = weights.sum(dim=-1).double().cumsum(dim=-1)
    target = uniform.double().unsqueeze(-1) * block_sums[:, -1:]
    block = torch.searchsorted(block_sums, target, right=True).clamp_(max=block_sums.shape[-1] - 1)
    before = torch.where(block > 0, block_sums.gather(-1, (block - 1).clamp(min=0)), 0.0)
    share = ((target - before) / (block_sums.gather(-1, block) - before)).clamp(0, 1)
    inside = weights[torch.arange(rows, device=weights.device), block.squeeze(-1)].double().cumsum(dim=-1)
    # a share that rounded to 1 would fall past the last token that has any weight
    offset = torch.searchsorted(inside, torch.minimum(share * inside[:, -1:], inside[:, -1:] * (1 - 1e-15)), right=True)
    token = block * _BLOCK + offset
    share = weights.view(rows, -1).gather(-1, token).double() / block_sums[:, -1:]
    return token.squeeze(-1), share.log().squeeze(-1)


def _keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    """Mask the tokens below the nucleus; sorts only as many tokens as the nuclei need."""
    import torch

    probabilities = torch.softmax(logits, dim=-1)
    for size in (256, 4096, logits.shape[-1]):
        size = min(size, logits.shape[-1])
        top, where = torch.topk(probabilities, size, dim=-1)
        if size == logits.shape[-1] or bool((top.sum(dim=-1) >= top_p).all()):
            break
    before = top.cumsum(dim=-1) - top
    nucleus = torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, where, before < top_p)
    return logits.masked_fill(~nucleus, -torch.inf)
