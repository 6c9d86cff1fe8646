"""What few samples per prompt cannot tell: limits of a mean over prompts that hold for every distribution of p the counts allow.

One 0/1 sample per prompt shows the mean of p and nothing else: half ones may be prompts at 1/2 each, or half at 0 and half at 1. A fit
still gives one answer, and refits of it much the same one. The limits here are the least and the largest mean of a function of p over all
distributions on the grid under which every count seen stays within its own Clopper-Pearson limits, all of them at once (Bonferroni): two
linear programs, wide by construction.

The counts are of events. Prompts with the same few samples have one event for each number of ones. Those with many samples, of which no
two prompts may have as many, are taken together, and the events are bins of their share of ones: a prompt with n samples falls into a bin
with a probability of its own, the sum over them is Poisson-binomial, and the Clopper-Pearson limits of a binomial hold for their mean
(Hoeffding 1956, theorem 4). Fewer events say less of g, so the limits get wider, never wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, gammaln, xlog1py, xlogy

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.intervals import clopper_pearson
from flatspot.stats.models.npmle import GRID

# with four samples or more the limits of the fit's own refits held in simulation, with fewer they are too narrow
ENOUGH_SAMPLES = 4
_OWN_EVENTS = 16  # samples up to which each number of ones is an event
_MOST_SETS = 2  # of prompts with more samples, by how many they have: more of them, or more bins, give wider limits
_BINS = 12


def too_few(n: Ints) -> bool:
    """Whether the typical prompt has too few samples for a fitted distribution to be taken at its word; n [M], those with any."""
    return len(n) > 0 and bool(np.median(n) < ENOUGH_SAMPLES)


def mean_bounds(n: Ints, hits: Ints, size: Ints, functions: Floats, *, level: float) -> Floats:
    """[F, 2] limits of the mean of each function [F, 163] of p over the prompts, whatever distribution p has.

    n, hits, size : [C] the distinct (samples, ones) pairs, and how many prompts have each

    >>> one_each = mean_bounds(np.array([1, 1]), np.array([0, 1]), np.array([5000, 5000]), np.less(GRID, 0.05)[None] * 1.0, level=0.95)
    >>> one_each.round(1).tolist()  # anything from none near 0 to half the set
    [[0.0, 0.5]]
    """
    from scipy.optimize import linprog

    events = [_events(n[here], hits[here], size[here]) for here in _sets(n)]
    table, seen = np.concatenate([chance for chance, _ in events]), np.concatenate([counts for _, counts in events])
    of = np.concatenate([np.full(len(counts), counts.sum()) for _, counts in events])
    low, high = clopper_pearson(seen, of, level=1 - (1 - level) / len(seen))
    found = np.empty((len(functions), 2))
    for i, f in enumerate(functions):
        for side, sign in enumerate((1, -1)):
            best = linprog(
                sign * f, A_ub=np.r_[table, -table], b_ub=np.r_[high, -low], A_eq=np.ones((1, len(GRID))), b_eq=[1.0], bounds=(0, 1)
            )
            found[i, side] = sign * best.fun if best.success else (f.min(), f.max())[side]
    return found


def _sets(n: Ints) -> list[NDArray[np.bool_]]:
    """Which pairs have their events in common: those of equal n, and, of many samples, those of nearly equal n."""
    many = np.unique(n[n > _OWN_EVENTS])
    parts = np.array_split(many, min(_MOST_SETS, len(many))) if len(many) else []
    return [n == draws for draws in np.unique(n[n <= _OWN_EVENTS])] + [np.isin(n, part) for part in parts]


def _events(n: Ints, hits: Ints, size: Ints) -> tuple[Floats, Ints]:
    """(probability of each event at each p [E, 163], mean over these prompts, and how many of the prompts it holds for [E])."""
    counts, of_count = np.unique(n, return_inverse=True)
    of_count = of_count.reshape(-1)
    if counts[-1] <= _OWN_EVENTS:
        ones = np.arange(counts[0] + 1)
        return binomial(counts[0], ones), np.bincount(hits, size, len(ones)).astype(np.int64)
    # 0, the shares in between, 1: the ends, where vanishing and solved are told apart, have bins of their own
    edges = np.r_[0.0, np.sin(np.linspace(0, np.pi / 2, _BINS + 1)[1:-1]) ** 2, 1.0]
    last = np.minimum(np.floor(edges * counts[:, None] + 1e-9), counts[:, None] - 1).astype(np.int64)  # ones of the last of each bin
    weight = np.bincount(of_count, size) / size.sum()
    chance = np.zeros((len(edges) + 1, len(GRID)))
    for draws, upto, share in zip(counts, last, weight, strict=True):  # one at a time, for the memory
        chance += share * np.diff(np.r_[np.zeros((1, len(GRID))), bdtr(upto[:, None], draws, GRID), np.ones((1, len(GRID)))], axis=0)
    place = np.where(hits == n, len(edges), (hits[:, None] > last[of_count]).sum(-1))
    return np.maximum(chance, 0.0), np.bincount(place, size, len(edges) + 1).astype(np.int64)


def binomial(n: int, hits: Ints) -> Floats:
    """[C, 163] probability of these numbers of ones in n samples, at each p of the grid; in logarithms, so n may be any.

    >>> bool(np.allclose(binomial(3000, np.arange(3001)).sum(0), 1.0))
    True
    """
    ways = gammaln(n + 1) - gammaln(hits + 1) - gammaln(n - hits + 1)
    return np.asarray(np.exp(ways[:, None] + xlogy(hits[:, None], GRID) + xlog1py((n - hits)[:, None], -GRID)))
