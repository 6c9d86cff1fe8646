"""Gradient norms of a real model from samples: ‖∇V‖² without bias, E‖s‖², the collision term, and γ from below.

A prompt's completions are split into two halves, those with even and with odd numbers. Each gives an unbiased estimate of ∇V,

    G = 1/(m − 1) · Σ_i (r_i − mean r) s_i,   s_i = ∇ log p(y_i | x)

and as the halves are independent, E[G_A · G_B] = ‖∇V‖². The norm of a single estimate is biased: E‖G‖² is ‖∇V‖² plus the noise.

Scores are computed for one distinct completion at a time and summed, so the memory is that of the model, one gradient, and two sums. Only
this module of the package uses torch; the caller provides the model through its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatspot.core.errors import SettingsError
from flatspot.theory.halves import Interval, half_product, mean_interval, unseen_ceiling

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
LogitsOf: TypeAlias = "Callable[[Sequence[int]], Tensor]"
"""Token ids of a completion → its logits [position, token], those that token l was sampled from in row l. Differentiable."""


@dataclass(frozen=True)
class GradientEstimate:
    """Estimates from the completions of one prompt, with 95% limits.

    n                    number of completions with a reward
    norm_sq              ‖∇V‖², unbiased: it can be negative, which only means that the norm is small
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
        """‖∇V‖, from the square: 0 where that is negative."""
        return Interval(*(float(np.sqrt(max(0.0, x))) for x in (self.norm_sq.mean, self.norm_sq.lo, self.norm_sq.hi)))


def estimate_gradient(
    parameters: Sequence[Tensor],
    logits_of: LogitsOf,
    completions: Sequence[Sequence[int]],
    rewards: ArrayLike,
    *,
    reward_range: tuple[float, float],
) -> GradientEstimate:
    """Estimate ‖∇V‖², E‖s‖² and the collision term of one prompt.

    parameters    the tensors with respect to which to differentiate
    logits_of     the logits that completions were sampled from, with temperature but without top-p and top-k
    completions   token ids including the end token; independent samples
    rewards       one per completion; completions with NaN (not scored) are left out
    reward_range  (lo, hi); limits the rewards not observed if those of a half are all equal

    Raises SettingsError with fewer than four scored completions: each half needs two.
    """
    reward = np.asarray(rewards, np.float64)
    if reward.shape != (len(completions),):
        raise SettingsError(f"there must be one reward per completion: got {len(completions)} completions and shape {reward.shape}")
    scored = np.flatnonzero(np.isfinite(reward))
    if len(scored) < 4:
        raise SettingsError(f"a gradient needs at least 4 scored completions, two in each half; got {len(scored)}")
    first, second = scored[::2], scored[1::2]
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
        ceiling = unseen_ceiling(reward[scored], reward_range) ** 2 * second_moment.hi
        product = Interval(product.mean, min(0.0, product.lo), max(product.hi, ceiling))
    longest = max(len(completions[i]) for i in scored.tolist())
    return GradientEstimate(len(scored), product, second_moment, collision, longest)


def gamma_lower(
    parameters: Sequence[Tensor], logits_of: LogitsOf, completion: Sequence[int], *, positions: int = 3, iterations: int = 6, seed: int = 0
) -> float:
    """A lower estimate of γ: the largest ‖Jᵀv‖, ‖v‖ = 1, found by power iteration at a few positions of one completion.

    Every value of the iteration is at most the spectral norm at its position, which is at most γ, the maximum over all positions and
    prefixes. So a bound computed from this number is not proven.

    positions   evenly spread over the completion, including its first and last
    iterations  of v ← J Jᵀ v per position, fewer if the value changes by less than 1 in 1,000
    """
    spread = np.unique(np.linspace(0, len(completion) - 1, min(positions, len(completion))).astype(int))
    return max(
        (_spectral_norm(parameters, logits_of, list(completion[: place + 1]), iterations, seed) for place in spread.tolist()), default=0.0
    )


def _spectral_norm(parameters: Sequence[Tensor], logits_of: LogitsOf, prefix: list[int], iterations: int, seed: int) -> float:
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
    """The scores of distinct completions, one at a time: stores numbers of each and a weighted sum, never the scores themselves."""

    def __init__(self, parameters: Sequence[Tensor], logits_of: LogitsOf) -> None:
        self.parameters, self.logits_of = list(parameters), logits_of
        self.norms: list[float] = []
        self.collisions: list[float] = []
        self.products: list[float] = []

    def weighted_sum(
        self, completions: Sequence[Sequence[int]], indices: NDArray[np.intp], weights: Floats, along: list[Tensor] | None = None
    ) -> list[Tensor] | None:
        """Σ weight · score over the completions `indices`; None if all weights are 0. `products` becomes each score's product with `along`.

        Equal completions have equal scores, so each distinct one is differentiated once.
        """
        import torch

        places: dict[tuple[int, ...], list[int]] = {}
        for place, i in enumerate(indices.tolist()):
            places.setdefault(tuple(completions[i]), []).append(place)
        total: list[Tensor] | None = None
        norms, collisions, products = np.zeros((3, len(indices)))
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

    def _score(self, completion: Sequence[int]) -> tuple[list[Tensor | None], float]:
        """∇ log p of one completion, and Σ_l (1 − ‖p_l‖²) along it."""
        import torch

        with torch.enable_grad():
            log_p = torch.log_softmax(self.logits_of(completion).float(), dim=-1)
            ids = torch.tensor(list(completion), device=log_p.device)
            total = log_p.gather(-1, ids.unsqueeze(-1)).sum()
            score = torch.autograd.grad(total, self.parameters, allow_unused=True)
        return list(score), float((1 - (log_p.detach().exp() ** 2).sum(-1)).sum())


def _positive(interval: Interval) -> Interval:
    """The interval of a number that cannot be negative."""
    return interval._replace(lo=max(0.0, interval.lo))


def _product(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> float:
    """The inner product of two gradients, summed in float64 over tensors; None stands for zeros."""
    return float(sum(float((x.float() * y.float()).sum()) for x, y in zip(a, b, strict=True) if x is not None and y is not None))


def _weights(reward: Floats) -> Floats:
    """(r_i − mean) / (m − 1), exactly 0 if all rewards are equal."""
    return np.zeros(len(reward)) if np.ptp(reward) == 0 else (reward - reward.mean()) / (len(reward) - 1)
