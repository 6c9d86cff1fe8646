"""Upper bounds on the norm of an expected policy gradient, from the tightest to Theorem 1. numpy only.

Symbols, for one prompt under a softmax policy p(y|x) = Π_l softmax(f(x, y_<l))[y_l]:

    V       E[r], the expected reward; ‖∇V‖ is what is bounded
    std     the standard deviation of the reward under the policy (of the policy, not of a sample)
    L       length: positions of a completion, counting the end token
    γ       gamma: the largest spectral norm of the Jacobian of the logits w.r.t. the parameters, over positions and prefixes
    s       ∇ log p(y|x) = Σ_l J_lᵀ(e_{y_l} − p_l), the score; E[s_l | prefix] = 0

    ‖∇V‖ ≤ std·√E‖s‖² ≤ γ·std·√(Σ_l E[1 − ‖p_l‖²]) ≤ √L·γ·std      score, collision, Lipschitz: any real reward
    ‖∇V‖ ≤ √2·L·γ·E|r − median|                                     median: any real reward
    ‖∇V‖ ≤ 6·L·γ·std^(2/3)                                          Theorem 1: rewards in [−1, 1]

Every function accepts numbers or arrays that broadcast, and returns a number for numbers. Negative, infinite and unknown (NaN) values
raise `SettingsError`: leave out prompts without a std before computing their bounds.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatspot.core.errors import SettingsError

Floats = NDArray[np.float64]


@overload
def theorem_1(std: float, *, length: float, gamma: float) -> float: ...
@overload
def theorem_1(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats: ...
def theorem_1(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats:
    """Theorem 1 of the paper (arXiv 2310.20703): 6 · L · γ · std^(2/3), for rewards in [−1, 1].

    The statement and its constant are taken from two texts that quote it, one by the same first author (arXiv 2503.15477).

    >>> round(theorem_1(0.001, length=10, gamma=1.0), 6)
    0.6
    """
    return theorem_1_kl(std, length=length, gamma=gamma, reward_bound=1.0)


@overload
def theorem_1_kl(std: float, *, length: float, gamma: float, reward_bound: float) -> float: ...
@overload
def theorem_1_kl(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike, reward_bound: ArrayLike) -> float | Floats: ...
def theorem_1_kl(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike, reward_bound: ArrayLike) -> float | Floats:
    """Theorem 1 for rewards in [−M, M], such as r − λ·ln(p/p_ref) under KL regularization: 6 · M^(1/3) · L · γ · std^(2/3).

    std           of the regularized reward
    reward_bound  M, the largest absolute value of the regularized reward. The regularizer's own gradient adds nothing: E[∇ log p] = 0
    source        arXiv 2503.15477, Proposition 2, for M > 1; any M > 0 follows by applying Theorem 1 to r/M

    >>> round(theorem_1_kl(0.001, length=10, gamma=1.0, reward_bound=8.0), 6)
    1.2
    """
    size = _checked("reward_bound", reward_bound)
    return _number(6.0 * np.cbrt(size) * _length(length) * _checked("gamma", gamma) * np.cbrt(_checked("std", std)) ** 2)


@overload
def lipschitz_bound(std: float, *, length: float, gamma: float) -> float: ...
@overload
def lipschitz_bound(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats: ...
def lipschitz_bound(std: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats:
    """√L · γ · std, for any real reward (derived here; the argument is short and may be known).

    From `score_bound`: the scores of the positions are uncorrelated, and each is at most γ² in mean square. For rewards in [−1, 1] it
    is at least 6 times smaller than Theorem 1.

    >>> lipschitz_bound(0.5, length=4, gamma=1.0)
    1.0
    """
    return _number(np.sqrt(_length(length)) * _checked("gamma", gamma) * _checked("std", std))


@overload
def score_bound(std: float, *, score_second_moment: float) -> float: ...
@overload
def score_bound(std: ArrayLike, *, score_second_moment: ArrayLike) -> float | Floats: ...
def score_bound(std: ArrayLike, *, score_second_moment: ArrayLike) -> float | Floats:
    """std · √E‖∇ log p(y|x)‖², for any real reward: Cauchy–Schwarz on ∇V = E[(r − V) s] (derived here).

    score_second_moment  E‖s‖², which `flatspot diagnose --gradients` estimates on a real model

    >>> score_bound(0.5, score_second_moment=4.0)
    1.0
    """
    return _number(_checked("std", std) * np.sqrt(_checked("score_second_moment", score_second_moment)))


@overload
def collision_bound(std: float, *, gamma: float, collision: float) -> float: ...
@overload
def collision_bound(std: ArrayLike, *, gamma: ArrayLike, collision: ArrayLike) -> float | Floats: ...
def collision_bound(std: ArrayLike, *, gamma: ArrayLike, collision: ArrayLike) -> float | Floats:
    """γ · std · √(Σ_l E[1 − ‖p_l‖²]), for any real reward (derived here).

    collision  Σ_l E[1 − ‖p_l‖²], p_l the distribution of the l-th token: the expected number of positions at which two draws would
               differ, at most L. It is known at sampling time, at no cost. From E‖s_l‖² ≤ γ² E‖e_{y_l} − p_l‖² = γ² E[1 − ‖p_l‖²]

    >>> collision_bound(0.5, gamma=2.0, collision=1.0)
    1.0
    """
    return _number(_checked("gamma", gamma) * _checked("std", std) * np.sqrt(_checked("collision", collision)))


@overload
def median_bound(mad: float, *, length: float, gamma: float) -> float: ...
@overload
def median_bound(mad: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats: ...
def median_bound(mad: ArrayLike, *, length: ArrayLike, gamma: ArrayLike) -> float | Floats:
    """√2 · L · γ · E|r − median|, for any real reward (derived here): linear in p for a 0/1 reward of small success rate p.

    mad  E|r − m| with m a median of the reward under the policy; min(p, 1 − p) for a 0/1 reward. Any other m gives a bound too, but a
         looser one. From ∇V = E[(r − m) s], ‖s‖ ≤ Σ_l ‖s_l‖ and ‖e_y − p‖ ≤ √2

    >>> round(median_bound(0.001, length=10, gamma=1.0), 6)
    0.014142
    """
    return _number(np.sqrt(2.0) * _length(length) * _checked("gamma", gamma) * _checked("mad", mad))


def _length(length: ArrayLike) -> Floats:
    values = _checked("length", length)
    if (values < 1).any():
        raise SettingsError(f"length must be at least 1 token, got {_first(values, values < 1)}")
    return values


def _checked(name: str, value: ArrayLike) -> Floats:
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be a number or an array of numbers, got {value!r}") from None
    if np.isnan(values).any():
        raise SettingsError(f"{name} is not known (NaN) for {int(np.isnan(values).sum())} of {values.size}: leave those prompts out")
    invalid = ~np.isfinite(values) | (values < 0)
    if invalid.any():
        raise SettingsError(f"{name} must be finite and not negative, got {_first(values, invalid)}")
    return values


def _first(values: Floats, invalid: NDArray[np.bool_]) -> float:
    return float(values[invalid].flat[0]) if values.ndim else float(values)


def _number(value: Floats) -> float | Floats:
    return float(value) if np.ndim(value) == 0 else value
