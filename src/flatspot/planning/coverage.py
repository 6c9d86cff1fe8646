"""How much of the failing reward a growing set of labels stands next to, and where more labels stop paying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.planning.strategies import Failing, similarity
from flatspot.stats.evidence import Floats, Ints

FEWEST = 16  # a usual SFT batch: fewer labels are never recommended where 5% allows them


@dataclass(frozen=True)
class Coverage:
    """What a sequence of k labels covers.

    share    [k] after each label: sum of weight × similarity to the nearest label, over the sum of weight
    nearest  [M] the label (0 to k − 1) each prompt is most like; -1 without a label
    similar  [M] how much it is like it
    """

    share: Floats
    nearest: Ints
    similar: Floats


def coverage(failing: Failing, chosen: Ints) -> Coverage:
    """The coverage of each prefix of `chosen`, rows of `failing` in the order they are labeled."""
    m, k = len(failing.mean), len(chosen)
    weight = failing.weight
    best, nearest, share = np.zeros(m, np.float32), np.full(m, -1, np.int64), np.zeros(k)
    block = max(1, 20_000_000 // max(m, 1))
    for first in range(0, k, block):
        similar = similarity(failing, chosen[first : first + block], np.arange(m))
        for at, row in enumerate(similar, first):
            nearer = (row > best) | (nearest < 0)
            best, nearest = np.where(nearer, row, best), np.where(nearer, at, nearest)
            share[at] = best @ weight / weight.sum()
    return Coverage(share, nearest, best.astype(np.float64))


def knee(share: Floats) -> int:
    """The number of labels at the knee of a coverage curve: where it stands farthest above the line from nothing to its end.

    >>> knee(np.array([0.5, 0.8, 0.9, 0.92, 0.93])), knee(np.array([0.25, 0.5, 0.75, 1.0])), knee(np.zeros(0))
    (2, 4, 0)
    """
    k = len(share)
    if not k:
        return 0
    above = share - share[-1] * np.arange(1, k + 1) / k
    return k if above.max() <= 1e-9 else int(above.argmax()) + 1


def recommended(share: Floats) -> int:
    """The knee, but not under `FEWEST` where the curve is that long."""
    return max(knee(share), min(FEWEST, len(share)))
