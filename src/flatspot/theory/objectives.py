"""The weight of the success rate's gradient under an objective: its expected update is w(p) · ∇p, for rewards of 0 and 1.

Each objective turns the rewards of a group of K completions into coefficients c_i; its update is Σ_i c_i s_i, s_i the score of
completion i. As E[s | r = 1] = ∇p/p and E[s | r = 0] = −∇p/(1 − p), the expectation over a group with k successes is

    E[Σ c_i s_i | k] = (k·c⁺(k)/p − (K − k)·c⁻(k)/(1 − p)) · ∇p        c⁺, c⁻ the coefficients of a success and a failure

and w_K(p) is its mean over k ~ Binomial(K, p): exact, at any group size. `limit` is what w_K tends to as K grows.

    objective   coefficients                                   limit w(p)        at a finite K
    reinforce   r_i / K                                        1                 1
    rloo        (r_i − mean of the others) / K                 1                 1
    dr_grpo     (r_i − mean) / K                               1                 1 − 1/K
    grpo        (r_i − mean) / std / K                         1/√(p(1 − p))     at most √(K − 1): the std of a group with one success
    maxrl       r_i / k; nothing if k = 0                      1/p               (1 − (1 − p)^K) / p, at most K
    pass_at_k   share of the n-subsets with i and a success    n(1 − p)^(n−1)    the same, for any K ≥ n

grpo's std is the group's with ddof 0 or 1; the table's bound holds for ddof 1 within a factor √((K−1)/K).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import comb, lgamma
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatspot.core.errors import SettingsError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """One way to weight the completions of a group.

    by_count  (successes k, group size K) → (coefficient of a success, coefficient of a failure)
    limit     w(p) as the group grows
    smallest  the smallest group it is defined for
    """

    name: str
    by_count: Callable[[int, int], tuple[float, float]]
    limit: Callable[[Floats], Floats]
    smallest: int = 1

    def coefficients(self, rewards: ArrayLike) -> Floats:
        """c_i for one group of rewards that are 0 or 1: the update is Σ c_i ∇log p(y_i).

        >>> OBJECTIVES["rloo"].coefficients([1.0, 0.0]).tolist()
        [0.5, -0.5]
        """
        group = np.asarray(rewards, np.float64)
        if group.ndim != 1 or not np.isin(group, (0.0, 1.0)).all():
            raise SettingsError(f"{self.name}: rewards must be one group of zeros and ones, got {np.asarray(rewards)!r}")
        self._check(len(group))
        hit, miss = self.by_count(int(group.sum()), len(group))
        return np.where(group == 1, hit, miss)

    @overload
    def weight(self, p: float, *, group_size: int) -> float: ...
    @overload
    def weight(self, p: ArrayLike, *, group_size: int) -> float | Floats: ...
    def weight(self, p: ArrayLike, *, group_size: int) -> float | Floats:
        """w_K(p), the exact expectation at this group size: the mean update is w_K(p) · ∇p, for p in (0, 1).

        >>> round(OBJECTIVES["dr_grpo"].weight(0.3, group_size=4), 12)
        0.75
        """
        self._check(group_size)
        rate = _rate(p)
        k, misses, for_hit, for_miss, log_ways = _terms(self, group_size)
        log_hit, log_miss = np.log(rate)[..., None], np.log1p(-rate)[..., None]
        # the probability of k successes, divided by p for the successes and by 1 − p for the failures: no 0/0 near the ends
        gained = for_hit * np.exp(log_ways + np.maximum(k - 1, 0) * log_hit + misses * log_miss)
        lost = for_miss * np.exp(log_ways + k * log_hit + np.maximum(misses - 1, 0) * log_miss)
        weight: Floats = (gained - lost).sum(-1)
        return float(weight) if np.ndim(p) == 0 else weight

    @overload
    def limit_weight(self, p: float) -> float: ...
    @overload
    def limit_weight(self, p: ArrayLike) -> float | Floats: ...
    def limit_weight(self, p: ArrayLike) -> float | Floats:
        """w(p), the limit of the expectation as the group grows."""
        weight = self.limit(_rate(p))
        return float(weight) if np.ndim(p) == 0 else weight

    def _check(self, size: int) -> None:
        if size < self.smallest:
            raise SettingsError(f"{self.name} needs a group of at least {self.smallest}, got {size}")


@lru_cache(maxsize=256)
def _terms(objective: Objective, size: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """By number of successes 0 … K: itself, the failures, k·c⁺, (K − k)·c⁻, and ln of the number of ways."""
    k = np.arange(size + 1.0)
    hit, miss = np.array([objective.by_count(int(n), size) for n in k]).T
    log_ways = np.array([lgamma(size + 1) - lgamma(n + 1) - lgamma(size - n + 1) for n in k])
    return k, size - k, k * hit, (size - k) * miss, log_ways


def grpo(*, ddof: int = 1, epsilon: float = 0.0) -> Objective:
    """GRPO with advantages (r − mean) / (std + epsilon); TRL and verl use ddof 1 and 1e-4 or 1e-6. A group of equal rewards adds nothing.

    >>> round(grpo(ddof=0).weight(1e-9, group_size=8), 6) == round(7**0.5, 6)
    True
    """

    def by_count(k: int, size: int) -> tuple[float, float]:
        if k in (0, size):
            return 0.0, 0.0
        std = np.sqrt(k * (size - k) / (size * (size - ddof)))
        return (1 - k / size) / (std + epsilon) / size, -k / size / (std + epsilon) / size

    return Objective("grpo", by_count, lambda p: 1 / (np.sqrt(p * (1 - p)) + epsilon), smallest=2)


def pass_at_k(n: int) -> Objective:
    """pass@n, the chance that one of n completions succeeds, estimated without bias from the n-subsets of a group of K ≥ n.

    >>> round(pass_at_k(4).weight(0.1, group_size=8), 6) == round(4 * 0.9**3, 6)
    True
    """
    if n < 1:
        raise SettingsError(f"pass@n needs n of at least 1, got {n}")

    def by_count(k: int, size: int) -> tuple[float, float]:
        with_it, all_subsets = comb(size - 1, n - 1), comb(size, n)
        # a failure counts where one of the others of its subset succeeds; of the size − k − 1 other failures n − 1 give none
        none = comb(size - k - 1, n - 1) if size > k else 0
        return with_it / all_subsets, (with_it - none) / all_subsets

    return Objective(f"pass_at_{n}", by_count, lambda p: n * (1 - p) ** (n - 1), smallest=n)


def _reinforce(k: int, size: int) -> tuple[float, float]:
    return 1 / size, 0.0


def _rloo(k: int, size: int) -> tuple[float, float]:
    return (1 - (k - 1) / (size - 1)) / size, -k / (size - 1) / size


def _dr_grpo(k: int, size: int) -> tuple[float, float]:
    return (1 - k / size) / size, -k / size / size


def _maxrl(k: int, size: int) -> tuple[float, float]:
    return (1 / k if k else 0.0), 0.0


def _ones(p: Floats) -> Floats:
    return np.ones_like(p)


OBJECTIVES: dict[str, Objective] = {
    "reinforce": Objective("reinforce", _reinforce, _ones),
    "rloo": Objective("rloo", _rloo, _ones, smallest=2),
    "dr_grpo": Objective("dr_grpo", _dr_grpo, _ones, smallest=2),
    "grpo": grpo(),
    "maxrl": Objective("maxrl", _maxrl, partial(np.divide, 1.0)),
    "pass_at_4": pass_at_k(4),
}


def _rate(p: ArrayLike) -> Floats:
    rate = np.asarray(p, np.float64)
    if not ((rate > 0) & (rate < 1)).all():  # NaN fails as well
        raise SettingsError(f"a success rate p must lie strictly between 0 and 1 (nothing is learned at the ends), got {p!r}")
    return rate
