"""Which marks a picture of prompts has: prompts at one place on the screen become one mark with a count. For display only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flatspot.report.blocks import VERDICTS
from flatspot.report.formats import number

MAX_MARKS = 6_000  # more cannot be told apart on a screen
DENSE = 400  # from here on marks are drawn small
_CELLS = (1_000, 200, 140, 100, 70, 50)


@dataclass(frozen=True, slots=True)
class Mark:
    """Prompts of one verdict at one place: mean reward across, another value upwards, and how many they are."""

    verdict: str
    mean: float
    value: float
    count: int


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks, and for each prompt the index of its mark (-1 where one of its numbers is missing).

    cells  the screen grid, in cells a side, on which prompts were taken together
    """

    values: list[Mark]
    of_prompt: list[int]
    cells: int

    @property
    def missing(self) -> int:
        """How many prompts are not drawn."""
        return sum(index < 0 for index in self.of_prompt)


def place_marks(verdicts: Sequence[str], means: Sequence[object], values: Sequence[object]) -> Marks:
    """One mark per verdict and place, most prompts first, on the finest grid that needs at most `MAX_MARKS`.

    values  what is drawn upwards: the stds, or what the best of a group is expected to earn

    A mark stands where the first of its prompts is: equal prompts stay exactly where they are, and no pattern of the grid shows.
    """
    points = [(number(mean), number(value)) for mean, value in zip(means, values, strict=True)]
    complete = [(mean, value) for mean, value in points if mean is not None and value is not None]
    if not complete:
        return Marks([], [-1] * len(points), _CELLS[0])
    left, wide = _span([mean for mean, _ in complete])
    bottom, high = _span([value for _, value in complete])
    order = {verdict.name: i for i, verdict in enumerate(VERDICTS)}
    for cells in _CELLS:
        places: dict[tuple[int, int, int], list[int]] = {}
        for i, (mean, value) in enumerate(points):
            if mean is not None and value is not None:
                key = (order.get(verdicts[i], len(order)), round((mean - left) / wide * cells), round((value - bottom) / high * cells))
                places.setdefault(key, []).append(i)
        if len(places) <= MAX_MARKS:
            break
    of_prompt = [-1] * len(points)
    marks = []
    for index, members in enumerate(sorted(places.values(), key=lambda members: (-len(members), members[0]))):
        for i in members:
            of_prompt[i] = index
        mean, value = points[members[0]]
        marks.append(Mark(verdicts[members[0]], mean or 0.0, value or 0.0, len(members)))
    return Marks(marks, of_prompt, cells)


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return low, (high - low) or 1.0
