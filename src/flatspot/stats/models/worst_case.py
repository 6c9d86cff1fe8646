"""The largest mean that a loss may have over a set of prompts, if the set is not what the smooth fit has but its counts allow as well.

Four completions a prompt cannot tell clumps of prompts on either side of a threshold from prompts spread between them, and refits to
reweighted prompts all make the same mistake. So the limit is taken over all distributions g of p on `edges.grid_with_edges`: those whose
log likelihood is within half the 95% point of chi-square (1 degree of freedom) of the best. They are found by tilting: the NPMLE for
likelihoods times exp(t * loss), which favors the g under which the losses are large, with the largest t that stays within. With t,

    H(t) = max_g sum_x log sum_k g_k L_x(p_k) exp(t loss_x(p_k)),    V(t) = H'(t), the sum of losses where g and they are so favored,

there are two answers. Of the mean that the losses have under g, the likelihood is that of the counts, and the losses are averaged over
each prompt's posterior. Of the losses that these very prompts have, a sum that chance has a part in, it is that of the counts and the sum
together, exp(H(t) - t V(t)) at the sum V(t): what a saddlepoint makes of max_g P(counts, sum = V | g). There the answer is V(t).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.models.npmle import fit_npmle

DROP = 1.921  # half the 95% point of chi-square, 1 degree of freedom
_STEPS = 12
_FIRST_TILT, _LARGEST_TILT = 0.5, 8.0  # the first is divided by the root of the prompts
_NEAR = 0.9  # of the drop: near enough for the rest to be a straight line

Enough = Callable[[float], bool]


def never_enough(_: float) -> bool:
    """No value answers the question but the largest."""
    return False


def largest_mean(
    table: Floats, loss: Floats, size: Floats, n: float, *, drop: float = DROP, enough: Enough = never_enough, realized: bool = False
) -> float:
    """The largest sum of losses over `n` under any g whose log likelihood lies within `drop` of the best.

    table     [C, G] likelihood of each kind of prompt at the points of a grid;  size [C] how many prompts of it
    loss      [C, G] of each kind at these points, 0 to 1
    enough    whether so large a mean answers the question: the search ends there
    realized  whether the sum is that of these very prompts, and not what is expected under g

    The drop grows about with the square of the tilt, so each tilt is the last one times the root of what is left. The answer lies between
    the last tilt within the drop and the first beyond it, by the roots of their drops: also where no tilt that was tried is within.

    >>> table = np.array([[1.0, 0.0], [0.0, 1.0]])  # every prompt is plainly of one kind: of 100, 20 are of the second
    >>> loss = np.array([[0.0, 1.0], [0.0, 1.0]])
    >>> round(largest_mean(table, loss, np.array([80.0, 20.0]), 100, realized=True), 2)
    0.2
    """
    table = table / table.max(-1, keepdims=True)  # so that hundreds of completions do not underflow
    g = best = fit_npmle(table, size)
    most, first = float(size @ np.log(table @ best)), _mean(table, loss, size, n, best)
    within, beyond = (0.0, first), None
    low, high, tilt = 0.0, _LARGEST_TILT, min(_FIRST_TILT / np.sqrt(n), _LARGEST_TILT)
    for _ in range(_STEPS):
        if enough(within[1]) or within[0] >= _NEAR * drop or low >= _LARGEST_TILT:
            break
        favored = table * np.exp(tilt * loss)
        tilted = fit_npmle(favored, size, start=g)
        used = favored if realized else table
        mean, height = _mean(used, loss, size, n, tilted), float(size @ np.log(used @ tilted))
        fall = max(most - height + (tilt * mean * n if realized else 0.0), 0.0)
        if fall <= drop:
            low, g, within = tilt, tilted, (fall, max(mean, within[1]))
        else:
            high, beyond = tilt, (fall, mean)
        tilt = _next_tilt(tilt * np.sqrt(drop / max(fall, drop / 100)), low, high, bounded=beyond is not None)
    if enough(within[1]) or (beyond is None and within[0] < _NEAR * drop):  # even the largest tilt costs less than the drop
        return within[1]
    below, above = ((0.0, first), within) if beyond is None else (within, beyond)
    share = (np.sqrt(drop) - np.sqrt(below[0])) / max(np.sqrt(above[0]) - np.sqrt(below[0]), 1e-9)
    return float(max(within[1], below[1] + share * (above[1] - below[1])))


def _next_tilt(guess: float, low: float, high: float, *, bounded: bool) -> float:
    """The guess, where it lies well within the tilts that are left; else their middle."""
    if not bounded:
        return min(guess, high)
    edge = 0.02 * (high - low)
    if low + edge < guess < high - edge:
        return guess
    return float(np.sqrt(low * high)) if low > 0 else high / 8


def _mean(table: Floats, loss: Floats, size: Floats, n: float, g: Floats) -> float:
    """The sum of losses over n, each averaged over the posterior of its prompt."""
    return float(size @ (((table * loss) @ g) / (table @ g)) / n)
