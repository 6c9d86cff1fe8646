"""What few samples per prompt cannot tell: limits of a mean over prompts that hold for every distribution of p the counts allow.

One 0/1 sample per prompt shows the mean of p and nothing else: half ones may be prompts at 1/2 each, or half at 0 and half at 1. A fit
still gives one answer, and refits of it much the same one. The limits here are the least and the largest mean of a function of p over all
distributions on the grid under which every count seen stays within its own Clopper-Pearson limits, all of them at once (Bonferroni): two
linear programs, wide by construction.
"""

from __future__ import annotations

import numpy as np
from scipy.special import comb

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.intervals import clopper_pearson
from flatspot.stats.two_valued import GRID

# with four samples or more the limits of the fit's own refits held in simulation, with fewer they are too narrow
ENOUGH_SAMPLES = 4


def too_few(n: Ints) -> bool:
    """Whether the typical prompt has too few samples for a fitted distribution to be taken at its word; n [M], those with any."""
    return bool(np.median(n) < ENOUGH_SAMPLES)


def mean_bounds(n: Ints, hits: Ints, size: Ints, functions: Floats, *, level: float) -> Floats:
    """[F, 2] limits of the mean of each function [F, 163] of p over the prompts, whatever distribution p has.

    n, hits, size : [C] the distinct (samples, ones) pairs, and how many prompts have each

    >>> one_each = mean_bounds(np.array([1, 1]), np.array([0, 1]), np.array([5000, 5000]), np.less(GRID, 0.05)[None] * 1.0, level=0.95)
    >>> one_each.round(1).tolist()  # anything from none near 0 to half the set
    [[0.0, 0.5]]
    """
    from scipy.optimize import linprog

    rows, lows, highs = [], [], []
    for draws in np.unique(n):
        here = n == draws
        counts = np.zeros(draws + 1, np.int64)
        counts[hits[here]] = size[here]
        lo, hi = clopper_pearson(counts, np.full(draws + 1, counts.sum()), level=1 - (1 - level) / (np.unique(n) + 1).sum())
        s = np.arange(draws + 1)[:, None]
        rows.append(comb(draws, s) * GRID**s * (1 - GRID) ** (draws - s))
        lows.append(lo)
        highs.append(hi)
    table, low, high = np.concatenate(rows), np.concatenate(lows), np.concatenate(highs)
    found = np.empty((len(functions), 2))
    for i, f in enumerate(functions):
        for side, sign in enumerate((1, -1)):
            best = linprog(
                sign * f, A_ub=np.r_[table, -table], b_ub=np.r_[high, -low], A_eq=np.ones((1, len(GRID))), b_eq=[1.0], bounds=(0, 1)
            )
            found[i, side] = sign * best.fun if best.success else (f.min(), f.max())[side]
    return found
