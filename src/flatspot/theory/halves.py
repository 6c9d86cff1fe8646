"""Intervals from two independent halves of a sample. numpy and scipy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and its 95% limits."""

    mean: float
    lo: float
    hi: float


def mean_interval(values: Floats) -> Interval:
    """The mean of independent values with Student's t limits; NaN limits for a single value.

    >>> mean_interval(np.array([2.0, 2.0, 2.0]))
    Interval(mean=2.0, lo=2.0, hi=2.0)
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def half_product(reward_a: Floats, onto_b: Floats, reward_b: Floats, onto_a: Floats) -> Interval:
    """G_A · G_B with its limits, G = Σ (r_i − mean) s_i / (m − 1) of each half.

    reward_a, onto_b  of the first half: its rewards, and the product of each score with G_B
    reward_b, onto_a  of the second half: its rewards, and the product of each score with G_A

    G_A · G_B is the sample covariance of reward_a and onto_b, and that of reward_b and onto_a. Its variance is the sum of the jackknife
    variances of the two, each with the other half held fixed; that counts the variance the halves share twice, so it errs upwards.
    """
    variance = jackknife_variance(reward_a, onto_b) + jackknife_variance(reward_b, onto_a)
    mean = float(np.cov(reward_b, onto_a)[0, 1])
    half = float(stats.t.ppf(0.975, min(len(reward_a), len(reward_b)) - 1) * np.sqrt(variance))
    return Interval(mean, mean - half, mean + half)


def jackknife_variance(x: Floats, y: Floats) -> float:
    """The delete-one jackknife's variance of the sample covariance (ddof 1) of x and y; with two pairs, its square.

    Leaving out pair i changes the sum of cross products by n/(n − 1) · (x_i − x̄)(y_i − ȳ).
    """
    n = len(x)
    cross = (x - x.mean()) * (y - y.mean())
    if n == 2:
        return float(cross.sum() ** 2)
    without = (cross.sum() - n / (n - 1) * cross) / (n - 2)
    return float((n - 1) / n * ((without - without.mean()) ** 2).sum())
