"""What groups of K would earn of rewards whose distribution is known, for the tests of verdicts and the benchmark of triage."""

from dataclasses import fields

import numpy as np
from scipy.special import ndtr

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


def of_normal(mean, std, k=8, top=1.0):
    """Of normal rewards with this mean and std [M], which are all different."""
    x = np.linspace(-9, 9, 4001)
    best = np.trapezoid((x > 0) - ndtr(x) ** k, x)
    return Odds(np.ones(len(mean)), best * std, top - mean)


def joined(*sets):
    """Of all of these prompts, one set after the other."""
    return Odds(*(np.concatenate([getattr(odds, f.name) for odds in sets]) for f in fields(Odds)))
