"""What groups of K would earn of rewards whose distribution is known, for the tests of verdicts."""

import numpy as np

from flatspot.stats.zones import Odds


def zero_one(p, k=8):
    """Of 0/1 rewards with success probability p."""
    p = np.asarray(p, float)
    return Odds(1 - p**k - (1 - p) ** k, 1 - (1 - p) ** k - p, 1 - p)


def of_weights(values, weights, k=8, top=1.0):
    """Of rewards with these ascending values [V] and weights [M, V]."""
    mean = weights @ values
    best = np.diff(np.minimum(np.cumsum(weights, -1), 1) ** k, axis=-1, prepend=0) @ values
    return Odds(1 - (weights**k).sum(-1), best - mean, top - mean)


def of_cdf(cdf, zero, mean, k=8, top=1.0, cells=2000):
    """Of rewards in [0, top] with this cdf (x [cells + 1] -> [M, cells + 1]) that are all different but for a mass `zero` [M] at 0."""
    x = np.linspace(0, top, cells + 1)
    best = np.trapezoid(1 - cdf(x) ** k, x, axis=-1)
    return Odds(1 - zero**k, best - mean, top - mean)
