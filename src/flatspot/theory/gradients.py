"""Gradient norms of a real model from samples: ‖∇V‖² without bias, E‖s‖², the collision term, and γ from below.

A prompt's completions are split into two halves, those with even and with odd numbers. Each gives an unbiased estimate of ∇V,

    G = 1/(m − 1) · Σ_i (r_i − mean r) s_i,   s_i = ∇ log p(y_i | x)

and as the halves are independent, E[G_A · G_B] = ‖∇V‖². The norm of a single estimate is biased: E‖G‖² is ‖∇V‖² plus the noise.

E‖s‖² = Σ_l E‖J_lᵀ(e_{y_l} − p_l)‖² is averaged over the token of every position, not taken at the one that was sampled: a token that is
drawn once in twenty times has nearly all of it, and is mostly missing from a sample. With random signs ε, one per token, v_l = Σ_y
√p_l(y)·ε_y·(e_y − p_l) has the covariance of e_{y_l} − p_l, so E‖Σ_l J_lᵀ v_l‖² given the completion is Σ_l E‖J_lᵀ(e_{y_l} − p_l)‖² at its
prefixes, at the price of one backward pass. What a prefix that was not drawn would add is still not seen.

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
from flatspot.theory.halves import Interval, mean_interval
from flatspot.theory.unseen import mean_limits, squared_norm, std_upper

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
LogitsOf: TypeAlias = "Callable[[Sequence[int]], Tensor]"
"""Token ids of a completion → its logits [position, token], those that token l was sampled from in row l. Differentiable."""


@dataclass(frozen=True)
class GradientEstimate:
    """Estimates from the completions of one prompt, with 95% limits.

    n                    number of completions with a reward
    std_hi               upper limit of the reward's std, for any reward in the range
    norm_sq              ‖∇V‖², unbiased: it can be negative, which only means that the norm is small
    score_second_moment  E‖∇ log p(y|x)‖²
    collision            Σ_l E[1 − ‖p_l‖²]
    length               the longest completion, in tokens with the end token
    """

    n: int
    std_hi: float
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
    max_length: int = 0,
) -> GradientEstimate:
    """Estimate ‖∇V‖², E‖s‖² and the collision term of one prompt.

    parameters    the tensors with respect to which to differentiate
    logits_of     the logits that completions were sampled from, with temperature but without top-p and top-k
    completions   token ids including the end token; independent samples
    rewards       one per completion; completions with NaN (not scored) are left out
    reward_range  (lo, hi) of the reward: what a completion that was not drawn may earn
    max_length    positions that a completion may have, as far as more than the longest of these

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
    second_moments, collisions = np.array(scores.second_moments), np.array(scores.collisions)
    if sum_second is None or np.ptp(reward[first]) == 0:
        onto_second = np.zeros(len(first))
    else:
        scores.weighted_sum(completions, first, np.zeros(len(first)), along=sum_second, measure=False)
        onto_second = np.array(scores.products)
    longest = max(len(completions[i]) for i in scored.tolist())
    second_moment = mean_interval(second_moments)
    second_moment = second_moment._replace(lo=max(0.0, second_moment.lo))
    collision = Interval(float(collisions.mean()), *mean_limits(collisions, 0.0, max(longest, max_length)))
    product = squared_norm(reward[first], onto_second, reward[second], onto_first, second_moment.hi, reward_range)
    return GradientEstimate(len(scored), std_upper(reward[scored], reward_range), product, second_moment, collision, longest)


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
        self.second_moments: list[float] = []
        self.collisions: list[float] = []
        self.products: list[float] = []

    def weighted_sum(
        self,
        completions: Sequence[Sequence[int]],
        indices: NDArray[np.intp],
        weights: Floats,
        along: list[Tensor] | None = None,
        measure: bool = True,
    ) -> list[Tensor] | None:
        """Σ weight · score over the completions `indices`; None if all weights are 0. `products` becomes each score's product with `along`.

        Equal completions have equal scores, so each distinct one is differentiated once. With `measure` their second moments and collision
        terms are appended; each completion has random signs of its own, so that equal ones do not pass for an exact number.
        """
        import torch

        places: dict[tuple[int, ...], list[int]] = {}
        for place, i in enumerate(indices.tolist()):
            places.setdefault(tuple(completions[i]), []).append(place)
        total: list[Tensor] | None = None
        second_moments, collisions, products = np.zeros((3, len(indices)))
        for completion, same in places.items():
            seeds = [len(self.second_moments) + place for place in same] if measure else []
            score, second_moments[same], collisions[same] = self._score(completion, seeds)
            products[same] = 0.0 if along is None else _product(score, along)
            if weights[same].any():
                if total is None:
                    total = [torch.zeros_like(p, dtype=torch.float32) for p in self.parameters]
                for into, part in zip(total, score, strict=True):
                    if part is not None:
                        into.add_(part, alpha=float(weights[same].sum()))
            del score
        if measure:
            self.second_moments.extend(second_moments.tolist())
            self.collisions.extend(collisions.tolist())
        self.products = products.tolist()
        return total

    def _score(self, completion: Sequence[int], seeds: Sequence[int]) -> tuple[list[Tensor | None], list[float] | float, float]:
        """∇ log p of one completion; per seed a second moment of it, averaged over tokens by random signs; Σ_l (1 − ‖p_l‖²) along it."""
        import torch

        with torch.enable_grad():
            logits = self.logits_of(completion).float()
            log_p = torch.log_softmax(logits, dim=-1)
            p = log_p.detach().exp()
            second_moments = []
            for seed in seeds:
                signs = torch.randint(0, 2, p.shape, generator=torch.Generator().manual_seed(seed)).to(p.device) * 2 - 1
                weighted = p.sqrt() * signs
                token = weighted - p * weighted.sum(-1, keepdim=True)
                pulled = torch.autograd.grad(logits, self.parameters, token, retain_graph=True, allow_unused=True)
                second_moments.append(_product(pulled, pulled))
            ids = torch.tensor(list(completion), device=log_p.device)
            total = log_p.gather(-1, ids.unsqueeze(-1)).sum()
            score = torch.autograd.grad(total, self.parameters, allow_unused=True)
        return list(score), second_moments or 0.0, float((1 - (p**2).sum(-1)).sum())


def _product(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> float:
    """The inner product of two gradients, summed in float64 over tensors; None stands for zeros."""
    return float(sum(float((x.float() * y.float()).sum()) for x, y in zip(a, b, strict=True) if x is not None and y is not None))


def _weights(reward: Floats) -> Floats:
    """(r_i − mean) / (m − 1), exactly 0 if all rewards are equal."""
    return np.zeros(len(reward)) if np.ptp(reward) == 0 else (reward - reward.mean()) / (len(reward) - 1)
