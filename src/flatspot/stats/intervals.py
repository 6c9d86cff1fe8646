"""Limits that never collapse to a point: K equal rewards prove less than they seem to."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, chdtri

from flatspot.stats.evidence import Floats, Ints


def clopper_pearson(hits: Ints | int, n: Ints | int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Two-sided Clopper-Pearson limits of a probability; (0, 1) where n = 0.

    lo = BetaInv(alpha/2; s, n - s + 1), hi = BetaInv(1 - alpha/2; s + 1, n - s), alpha = 1 - level.

    >>> lo, hi = clopper_pearson(0, 10)
    >>> float(lo), round(float(hi), 4)
    (0.0, 0.3085)
    """
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    alpha = 1 - level
    misses = n - hits
    lo = np.where(hits > 0, betaincinv(np.maximum(hits, 1), misses + 1, alpha / 2), 0.0)
    hi = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1), 1 - alpha / 2), 1.0)
    return np.where(n > 0, lo, 0.0), np.where(n > 0, hi, 1.0)


def two_valued_std_interval(hits: Ints | int, n: Ints | int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Limits of sqrt(p (1 - p)) for a 0/1 reward after `hits` ones in `n` draws: Clopper-Pearson, mapped.

    The map peaks at p = 1/2, so the upper limit is taken at the point of [p_lo, p_hi] nearest 1/2, the lower at the farthest.
    Coverage is at least 0.956 at n = 4, 8, 10, 16, 32, 64, 300 (enumerated in the tests).

    >>> [round(float(two_valued_std_interval(0, n)[1]), 2) for n in (10, 300)]
    [0.46, 0.11]
    """
    lo, hi = clopper_pearson(hits, n, level=level)
    nearest = np.clip(0.5, lo, hi)
    return np.minimum(np.sqrt(lo * (1 - lo)), np.sqrt(hi * (1 - hi))), np.sqrt(nearest * (1 - nearest))


def equal_rewards_std_upper(value: Floats, n: Ints, lo: float, hi: float, *, level: float = 0.95) -> Floats:
    """Upper limit of the std after n rewards that all equal `value`, for any reward in [lo, hi]: derived here.

    With probability `level` at most q = 1 - (alpha/2)^(1/n) of the mass lies elsewhere, at a distance of at most
    D = max(value - lo, hi - value); the variance is then at most D^2 q (1 - q), q taken no further than 1/2.

    >>> round(float(equal_rewards_std_upper(np.array(0.0), np.array(10), 0.0, 1.0)), 2)
    0.46
    """
    share = np.minimum(1 - ((1 - level) / 2) ** (1 / np.maximum(np.asarray(n, float), 1e-9)), 0.5)
    distance = np.maximum(value - lo, hi - value)
    return np.asarray(distance * np.sqrt(share * (1 - share)))


def variance_interval(variance: Floats, dof: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Chi-square limits of a variance estimated with `dof` degrees of freedom.

    lo = dof * variance / chi2inv(1 - alpha/2), hi = dof * variance / chi2inv(alpha/2).

    >>> lo, hi = variance_interval(np.array(1.0), np.array(15.0))
    >>> round(float(lo), 3), round(float(hi), 3)
    (0.546, 2.395)
    """
    alpha = 1 - level
    return np.asarray(dof * variance / chdtri(dof, alpha / 2)), np.asarray(dof * variance / chdtri(dof, 1 - alpha / 2))
