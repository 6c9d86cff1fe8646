"""Upper limits that count what a sample did not show. numpy and scipy only.

Equal values have a sample std of 0, and so have Student's interval and the jackknife; but n equal values leave a share of up to
1 − (α/2)^(1/n) for other ones. Where values have a known range these can only be so far off, and that gives limits for any distribution.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flatspot.theory.halves import Interval, half_product, jackknife_variance

Floats = NDArray[np.float64]
_LEVEL = 0.95
_DRAWS = 10_000
_CELLS = 2_000_000


def mean_limits(values: Floats, least: float, most: float) -> tuple[float, float]:
    """95% limits of the mean of any distribution on [least, most], from independent values.

    With the values z_1 ≤ … ≤ z_n and z_{n+1} = most, and the order statistics u_1 ≤ … ≤ u_n of n uniform numbers, the upper limit is the
    quantile at 0.975 of most − Σ_i u_i (z_{i+1} − z_i); the lower one is that of the mirrored values. Of 0/1 values these are the
    Clopper–Pearson limits. That form is by Learned-Miller and Thomas (arXiv 1905.06208), who know of no counterexample to it and have
    no proof; here the uniform numbers are simulated, with a fixed seed.

    >>> lo, hi = mean_limits(np.zeros(16), 0.0, 1.0)
    >>> lo, round(hi, 2)                                    # 1 − 0.025^(1/16) = 0.206
    (0.0, 0.21)
    """
    return -_mean_upper(-values, -least), _mean_upper(values, most)


def _mean_upper(values: Floats, most: float) -> float:
    steps = np.diff(np.r_[np.sort(values), max(most, float(values.max()))])
    return float(max(most, float(values.max())) - np.quantile(_order_statistics(len(values)) @ steps, (1 - _LEVEL) / 2))


@lru_cache(maxsize=4)
def _order_statistics(n: int) -> Floats:
    """[draws, n] simulated uniform numbers, each row ascending."""
    return np.sort(np.random.default_rng(0).random((int(np.clip(_CELLS // n, 1000, _DRAWS)), n)), axis=-1)


def std_upper(rewards: Floats, reward_range: tuple[float, float]) -> float:
    """Upper 95% limit of the std of any reward in the range: the root of that of E(r − mean)², and at most half the range.

    >>> round(std_upper(np.zeros(16), (0.0, 1.0)), 2)
    0.45
    """
    lo, hi = min(reward_range[0], float(rewards.min())), max(reward_range[1], float(rewards.max()))
    mean = float(rewards.mean())
    square = mean_limits((rewards - mean) ** 2, 0.0, max(hi - mean, mean - lo) ** 2)[1]
    return float(min(np.sqrt(square), (hi - lo) / 2))


def deviation_upper(rewards: Floats, reward_range: tuple[float, float]) -> float:
    """Upper 95% limit of E|r − m| of any reward in the range, m being the median of the sample.

    >>> round(deviation_upper(np.zeros(16), (0.0, 1.0)), 2)
    0.21
    """
    middle = float(np.median(rewards))
    return mean_limits(np.abs(rewards - middle), 0.0, max(reward_range[1] - middle, middle - reward_range[0]))[1]


def squared_norm(
    reward_a: Floats, onto_b: Floats, reward_b: Floats, onto_a: Floats, second_hi: float, reward_range: tuple[float, float]
) -> Interval:
    """‖∇V‖² from two halves (`half_product`), with an upper limit that counts rewards and completions that neither half showed.

    second_hi     upper limit of E‖s‖²
    reward_range  (lo, hi): what a completion that was not drawn may earn

    Cauchy–Schwarz gives ‖∇V‖ ≤ std·√E‖s‖², here with upper limits of both, whatever was seen. The jackknife's limit shrinks faster and
    counts what was seen. An event that none of n completions fell into has a probability of at most q = 1 − 0.025^(1/n), and its rewards
    are at most D from the mean, so that by Cauchy–Schwarz again it adds at most √(q·D²·E‖s‖²) to the norm (derived here). The upper limit
    is the smaller of the two; where the rewards of a half are all equal, or its products, the jackknife says nothing, and it is the first.
    """
    product, rewards = half_product(reward_a, onto_b, reward_b, onto_a), np.r_[reward_a, reward_b]
    ceiling = std_upper(rewards, reward_range) ** 2 * second_hi
    if min(jackknife_variance(reward_a, onto_b), jackknife_variance(reward_b, onto_a)) > 0:
        unseen = 1 - ((1 - _LEVEL) / 2) ** (1 / len(rewards))
        added = unseen * max(reward_range[1] - rewards.mean(), rewards.mean() - reward_range[0]) ** 2 * second_hi
        ceiling = min(ceiling, (np.sqrt(max(0.0, product.hi)) + np.sqrt(added)) ** 2)
    return Interval(product.mean, min(product.lo, ceiling), max(product.mean, ceiling))
