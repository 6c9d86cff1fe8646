"""Limits for prompts of other clusters: what a set of tasks tells of tasks that are not in it.

Limits of a population take prompts for drawn one by one. Where they were drawn task by task they hold for further prompts of the same
tasks; another task may be unlike all of them, and what says how unlike is the tasks themselves, of which there are few. So tasks are
reweighted (Bayesian bootstrap over clusters); two pseudo-tasks of half a weight each, in which all and none of the prompts are such, stand
for tasks of a kind that was not seen (Jeffreys' prior where tasks are all or nothing); and the spread that this gives is added in squares
to the limits for prompts of the same tasks.
"""

from __future__ import annotations

import numpy as np

from flatspot.stats.evidence import Floats, Ints

FEW_CLUSTERS = 5  # under which nothing is said of other clusters
_DRAWS = 2000
_LEAST_RELIABLE = 0.1


def reliability(chance: Floats) -> float:
    """How much of the variance of an event over the prompts their own probabilities [M] of it show: Var E / (Var E + E Var).

    >>> reliability(np.array([0.0, 1.0])), reliability(np.array([0.25, 0.75]))
    (1.0, 0.25)
    """
    shown, hidden = float(np.var(chance)), float((chance * (1 - chance)).mean())
    return max(shown / (shown + hidden), _LEAST_RELIABLE) if shown + hidden > 1e-12 else 1.0


def deviations(values: Floats, cluster: Ints, reliable: Floats, rng: np.random.Generator) -> Floats:
    """[draws, S] by how much the mean of each value [M, S], 0 to 1, may differ over other clusters.

    cluster   [M] the cluster of each prompt, any integers
    reliable  [S] how much of the spread of what is estimated the values show; the rest is added to that of the clusters' means
    """
    _, at = np.unique(cluster, return_inverse=True)
    size = np.bincount(at).astype(float)
    mean = values.mean(0)
    own = np.stack([np.bincount(at, column) for column in values.T], -1) / size[:, None]
    own = np.clip(mean + (own - mean) / reliable, 0.0, 1.0)
    weight = rng.standard_gamma(1.0, (_DRAWS, len(size))) * size
    none, all_such = rng.standard_gamma(0.5, (2, _DRAWS, 1)) * size.mean()
    shares = (weight @ own + all_such) / (weight.sum(1, keepdims=True) + none + all_such)
    return np.asarray(shares - mean)


def widened(limits: Floats, away: Floats, *, level: float) -> Floats:
    """[S, 3] limits (mean, lo, hi) for prompts of the same clusters, made those for other ones; `away` [draws, S]: `deviations`."""
    mean, lo, hi = limits.T
    below, above = np.quantile(away, [(1 - level) / 2, (1 + level) / 2], axis=0)
    further = [np.hypot(mean - lo, np.minimum(below, 0)), np.hypot(hi - mean, np.maximum(above, 0))]
    return np.stack([mean, np.clip(mean - further[0], 0, 1), np.clip(mean + further[1], 0, 1)], -1)


def open_limits(mean: Floats) -> Floats:
    """[S, 3] nothing is known beyond the mean [S]."""
    return np.stack([mean, np.zeros_like(mean), np.ones_like(mean)], -1)
