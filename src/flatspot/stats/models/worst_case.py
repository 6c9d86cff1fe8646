"""The worst-case error of the verdicts: the largest they may have, if the set is not what the smooth fit has but its counts allow as well.

Four completions a prompt cannot tell clumps of prompts on either side of a threshold from prompts spread between them, and refits to
reweighted prompts all make the same mistake. So the limit is taken over all distributions g: the largest mean error of the verdicts, among
those g whose log likelihood is within half the 95% point of chi-square (1 degree of freedom) of the best. They are found by tilting: the
NPMLE for likelihoods times exp(t * loss), which favors the g under which the verdicts are wrong, with the largest t that stays within.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.models.npmle import fit_npmle

DROP = 1.921  # half the 95% point of chi-square, 1 degree of freedom
_STEPS = 12
_TILTS = (0.5, 8.0)  # searched evenly in their logarithm; the first is divided by the root of the prompts, and so always within the drop

Enough = Callable[[float], bool]


def largest_error(table: Floats, loss: Floats, size: Floats, n_verdicts: float, drop: float, enough: Enough) -> float:
    """The largest sum of losses over `n_verdicts`, under any g whose log likelihood lies within `drop` of the best.

    table  [C, 163] likelihood of each kind of prompt on `GRID`;  size [C] how many prompts of it
    loss   [C, 163] of its verdict; 0 where it has none
    enough whether so large an error answers the question: the search ends there
    """
    table = table / table.max(-1, keepdims=True)  # so that hundreds of samples do not underflow
    g = best = fit_npmle(table, size)
    most = float(size @ np.log(table @ best))
    largest, low, high = _error(table, loss, size, n_verdicts, best), np.log(_TILTS[0] / np.sqrt(n_verdicts)), np.log(_TILTS[1])
    for _ in range(_STEPS):
        if enough(largest):
            break
        middle = (low + high) / 2
        tilted = fit_npmle(table * np.exp(np.exp(middle) * loss), size, start=g)
        if most - float(size @ np.log(table @ tilted)) <= drop:
            low, g, largest = middle, tilted, max(largest, _error(table, loss, size, n_verdicts, tilted))
        else:
            high = middle
    return largest


def _error(table: Floats, loss: Floats, size: Floats, n_verdicts: float, g: Floats) -> float:
    return float(size @ (((table * loss) @ g) / (table @ g)) / n_verdicts)
