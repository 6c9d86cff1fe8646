"""Gradient norms of a real model from samples: ‖∇V‖² without bias, E‖s‖², the collision term, and γ from below.

A prompt's completions are split into two halves, even and odd draws. Each gives an unbiased estimate of ∇V,

    G = 1/(m − 1) · Σ_i (r_i − mean r) s_i,   s_i = ∇ log p(y_i | x)

and as the halves are independent, E[G_A · G_B] = ‖∇V‖². A norm of one estimate would not do: E‖G‖² is ‖∇V‖² plus the noise.

Scores are taken one distinct completion at a time and added up, so the memory is that of the model, one gradient, and two sums. Torch is
needed here and nowhere else in this package; what the model is, and how its logits come about, is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flatspot.core.errors import SettingsError
from flatspot.theory.halves import Interval, half_product, mean_interval, unseen_ceiling

LogitsOf = Callable[[Sequence[int]], Any]
"""Token ids of a completion → its logits [position, token]: row l is what token l was drawn from. Differentiable."""


@dataclass(frozen=True)
class GradientEstimate:
    """What the completions of one prompt say about its gradient; limits are at 95%.

    n                    completions used, those with a reward
    norm_sq              ‖∇V‖², unbiased: it may be negative, which then only says that the norm is small
    score_second_moment  E‖∇ log p(y|x)‖²
    collision            Σ_l E[1 − ‖p_l‖²]
    length               the longest completion, in tokens with the end token
    """

    n: int
    norm_sq: Interval
    score_second_moment: Interval
    collision: Interval
    length: int

    @property
    def norm(self) -> Interval:
        """‖∇V‖, from the square: what is negative there is 0 here."""
        return Interval(*(float(np.sqrt(max(0.0, x))) for x in (self.norm_sq.mean, self.norm_sq.lo, self.norm_sq.hi)))


def estimate_gradient(
    parameters: Sequence[Any],
    logits_of: LogitsOf,
    completions: Sequence[Sequence[int]],
    rewards: ArrayLike,
    *,
    reward_range: tuple[float, float],
) -> GradientEstimate:
    """Estimate ‖∇V‖², E‖s‖² and the collision term of one prompt.

    parameters    the tensors to differentiate by
    logits_of     the logits that each completion was drawn from, untruncated: with temperature, without top-p and top-k
    completions   token ids, the end token included; drawn independently of each other and of everything here
    rewards       one per completion; NaN (not scored) leaves its completion out
    reward_range  (lo, hi); where a half's rewards are all equal, what else the policy may earn is read off it

    Raises SettingsError with fewer than four scored completions: each half needs two.
    """
    reward = np.asarray(rewards, np.float64)
    if reward.shape != (len(completions),):
        raise SettingsError(f"there must be one reward per completion: got {len(completions)} completions and shape {reward.shape}")
    kept = np.flatnonzero(np.isfinite(reward))
    if len(kept) < 4:
        raise SettingsError(f"a gradient needs at least 4 scored completions, two in each half; got {len(kept)}")
    first, second = kept[::2], kept[1::2]
    scores = _Scores(parameters, logits_of)
    sum_first = scores.weighted_sum(completions, first, _weights(reward[first]))
    sum_second = scores.weighted_sum(completions, second, _weights(reward[second]), along=sum_first)
    onto_first = np.array(scores.products)
    del sum_first
    norms, collisions = np.array(scores.norms), np.array(scores.collisions)
    if sum_second is None or np.ptp(reward[first]) == 0:
        onto_second = np.zeros(len(first))
    else:
        scores.weighted_sum(completions, first, np.zeros(len(first)), along=sum_second)
        onto_second = np.array(scores.products)
    second_moment, collision = _positive(mean_interval(norms)), _positive(mean_interval(collisions))
    product = half_product(reward[first], onto_second, reward[second], onto_first)
    if min(np.ptp(reward[first]), np.ptp(reward[second])) == 0:
        ceiling = unseen_ceiling(reward[kept], reward_range) ** 2 * second_moment.hi
        product = Interval(product.mean, min(0.0, product.lo), max(product.hi, ceiling))
    longest = max(len(completions[i]) for i in kept.tolist())
    return GradientEstimate(len(kept), product, second_moment, collision, longest)


def gamma_lower(
    parameters: Sequence[Any], logits_of: LogitsOf, completion: Sequence[int], *, positions: int = 3, iterations: int = 6, seed: int = 0
) -> float:
    """A lower estimate of γ: the largest ‖Jᵀv‖, ‖v‖ = 1, found by power iteration at a few positions of one completion.

    Every value of the iteration is at most the spectral norm at its position, and that is at most the maximum over all positions and
    prefixes which γ is. So a bound computed with this number is not a proven one.

    positions   evenly spread over the completion, its first and last among them
    iterations  of v ← J Jᵀ v per position, ended early once the value moves by less than 1 in 1,000
    """
    spread = np.unique(np.linspace(0, len(completion) - 1, min(positions, len(completion))).astype(int))
    return max(
        (_spectral_norm(parameters, logits_of, list(completion[: place + 1]), iterations, seed) for place in spread.tolist()), default=0.0
    )


def _spectral_norm(parameters: Sequence[Any], logits_of: LogitsOf, prefix: list[int], iterations: int, seed: int) -> float:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():  # the other attention kernels cannot be differentiated twice
        logits = logits_of(prefix)[-1].float()
        v = torch.randn(len(logits), generator=torch.Generator().manual_seed(seed)).to(logits.device)
        v = (v / v.norm()).requires_grad_()
        # Jᵀv is linear in v, so its derivative by v, pulled back from u, is J u
        pulled = torch.autograd.grad(logits, parameters, v, create_graph=True, allow_unused=True)
        used = [(p, g) for p, g in zip(parameters, pulled, strict=True) if g is not None and g.requires_grad]
        largest = last = 0.0
        now = v.detach()
        for _ in range(iterations):
            back = torch.autograd.grad(logits, [p for p, _ in used], now, retain_graph=True)
            size = float(torch.stack([(b.float() ** 2).sum() for b in back]).sum().sqrt())
            largest = max(largest, size)
            if abs(size - last) <= 1e-3 * size:
                break
            last = size
            (now,) = torch.autograd.grad([g for _, g in used], v, [b.detach() for b in back], retain_graph=True)
            if not float(now.norm()) > 0:
                break
            now = now / now.norm()
    return largest


class _Scores:
    """Goes through distinct completions one by one: keeps numbers of each score and a weighted sum, never the scores."""

    def __init__(self, parameters: Sequence[Any], logits_of: LogitsOf) -> None:
        self.parameters, self.logits_of = list(parameters), logits_of
        self.norms: list[float] = []
        self.collisions: list[float] = []
        self.products: list[float] = []

    def weighted_sum(
        self, completions: Sequence[Sequence[int]], chosen: Any, weights: Any, along: list[Any] | None = None
    ) -> list[Any] | None:
        """Σ weight · score over the chosen; None where every weight is 0. `products` becomes each score's product with `along`.

        Equal completions have equal scores, so each distinct one is differentiated once.
        """
        import torch

        places: dict[tuple[int, ...], list[int]] = {}
        for place, i in enumerate(chosen.tolist()):
            places.setdefault(tuple(completions[i]), []).append(place)
        total: list[Any] | None = None
        norms, collisions, products = np.zeros((3, len(chosen)))
        for completion, same in places.items():
            score, collisions[same] = self._score(completion)
            norms[same] = _product(score, score)
            products[same] = 0.0 if along is None else _product(score, along)
            if weights[same].any():
                if total is None:
                    total = [torch.zeros_like(p, dtype=torch.float32) for p in self.parameters]
                for into, part in zip(total, score, strict=True):
                    if part is not None:
                        into.add_(part, alpha=float(weights[same].sum()))
            del score
        self.norms.extend(norms.tolist())
        self.collisions.extend(collisions.tolist())
        self.products = products.tolist()
        return total

    def _score(self, completion: Sequence[int]) -> tuple[list[Any], float]:
        """∇ log p of one completion, and Σ_l (1 − ‖p_l‖²) along it."""
        import torch

        with torch.enable_grad():
            log_p = torch.log_softmax(self.logits_of(completion).float(), dim=-1)
            ids = torch.tensor(list(completion), device=log_p.device)
            total = log_p.gather(-1, ids.unsqueeze(-1)).sum()
            found = torch.autograd.grad(total, self.parameters, allow_unused=True)
        return list(found), float((1 - (log_p.detach().exp() ** 2).sum(-1)).sum())


def _positive(found: Interval) -> Interval:
    """The limits of a number that cannot be negative."""
    return found._replace(lo=max(0.0, found.lo))


def _product(a: Sequence[Any], b: Sequence[Any]) -> float:
    """The inner product of two gradients, summed in float64 over tensors; None stands for zeros."""
    return float(sum(float((x.float() * y.float()).sum()) for x, y in zip(a, b, strict=True) if x is not None and y is not None))


def _weights(reward: Any) -> Any:
    """(r_i − mean) / (m − 1), exactly 0 where all are equal."""
    return np.zeros(len(reward)) if np.ptp(reward) == 0 else (reward - reward.mean()) / (len(reward) - 1)
