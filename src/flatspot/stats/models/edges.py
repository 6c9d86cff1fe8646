"""The grid of p with the points at which a verdict turns right or wrong.

`GRID` has steps of a tenth in the logit, on which mass just past a limit has no point: 2 epsilon = 0.1 lies between 0.0998 and 0.109. What
is said to hold whatever the distribution is must hold for mass there, so limits over all distributions are taken on a grid that also has
either side of each point at which a state or a loss changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats
from flatspot.stats.models.npmle import GRID
from flatspot.stats.zones import Odds, Zones, gain_of, mixed_of

_BISECTIONS = 40
_NARROW = 1e-9  # closer points have nothing between them
_MOST_IN_A_CELL = 4  # changes of one state or loss between two neighbors


def states_and_losses(p: Floats, zones: Zones, low: float, high: float) -> tuple[Floats, Floats]:
    """States and losses at each p, for rewards `low` and `high`, which every prompt can earn: two [..., 3] arrays."""
    mixed, gain = mixed_of(p, zones.group_size), gain_of(p, zones.group_size) * (high - low)
    odds = Odds(mixed, gain, (1 - p) * (high - low))
    return zones.states(odds, high - low), zones.loss(odds, high - low)


@lru_cache(maxsize=8)
def grid_with_edges(zones: Zones, low: float, high: float) -> Floats:
    """[G] `GRID`, and the last p before and the first p after each change of a state or a loss, ascending.

    >>> points = grid_with_edges(Zones(0.05), 0.0, 1.0)
    >>> [bool(np.abs(points - edge).min() < 1e-9) for edge in (0.025, 0.05, 0.1, 0.9, 0.95, 0.975)]
    [True, True, True, True, True, True]
    """

    points = with_edges(GRID, lambda p: np.concatenate(states_and_losses(p, zones, low, high), axis=-1) > 0)
    points.flags.writeable = False
    return points


def with_edges(points: Floats, kinds: Callable[[Floats], NDArray[np.bool_]]) -> Floats:
    """The points, and the last one before and the first one after each change of a kind, ascending.

    points  [G] ascending
    kinds   gives [N, S] what holds at each of N points

    >>> with_edges(np.array([0.0, 1.0]), lambda x: np.stack([x > 0.25, x < 0.5], -1)).round(3).tolist()
    [0.0, 0.25, 0.25, 0.5, 0.5, 1.0]
    """
    for _ in range(_MOST_IN_A_CELL):
        at = kinds(points)
        cell, column = np.nonzero((at[1:] != at[:-1]) & (np.diff(points) > _NARROW)[:, None])
        before, after = points[cell], points[cell + 1]
        for _ in range(_BISECTIONS):
            middle = (before + after) / 2
            same = kinds(middle)[np.arange(len(cell)), column] == at[cell, column]
            before, after = np.where(same, middle, before), np.where(same, after, middle)
        points = np.unique(np.r_[points, before, after])
    return points
