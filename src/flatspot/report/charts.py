"""The charts of a run's report as SVG text: mean against std, the verdicts' shares, the forecast by group size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flatspot.report import blocks, svg
from flatspot.report.formats import count, decimal, noun, percent
from flatspot.report.marks import DENSE, Mark, Marks
from flatspot.report.svg import Plane, Scale

if TYPE_CHECKING:
    from flatspot.runs.summary import Summary

MEAN = "mean reward of the prompt"
STD = "reward std within the prompt"


def scatter(marks: Marks, reward_range: Sequence[float] | None, *, reach: float | None = None, completions: int | None = None) -> str:
    """Mean reward against within-prompt std, one mark per place, sized by its prompts.

    reward_range  of the reward; None where it is not known: there is no arc then
    reach         the gap to the top, in stds, from which on the corner is tinted; None: no corner
    completions   the fewest scored completions of any prompt, for the arc of the largest std they can have (ddof 1)
    """
    means, stds = [mark.mean for mark in marks.values], [mark.value for mark in marks.values]
    limits = blocks.range_limits(reward_range) if reward_range is not None else None
    lo, hi = limits or padded(means)
    stretch = math.sqrt(completions / (completions - 1)) if completions and completions > 1 else 1.0
    top = max([*stds, (hi - lo) / 2 * stretch if limits else 0.0]) * 1.14 or 1.0
    plane = Plane(mean_scale(means, lo, hi), Scale(-0.04 * top, top), 380)
    across, upwards = svg.axis_labels(plane.x, 6), svg.axis_labels(plane.y, 5)
    n = sum(mark.count for mark in marks.values)
    title = (
        f"Scatter plot of {noun(n, 'prompt')}: mean reward across, reward standard deviation upwards, verdict by color and shape. "
        "The same numbers are in the table of prompts."
    )
    body = [
        svg.y_axis(plane, STD, upwards),
        svg.x_axis(plane, MEAN, across),
        *corner(plane, reach, lo, hi),
        *(envelope(plane, lo, hi, stretch) if limits else []),
        *points(plane, marks),
        *corner_label(plane, reach, lo, hi),
    ]
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def mean_scale(means: Sequence[float], lo: float, hi: float) -> Scale:
    """The scale across, with a little room on each side: marks at the ends of the range are the usual case, and must not be cut."""
    return Scale(min([lo, *means]) - 0.04 * (hi - lo), max([hi, *means]) + 0.04 * (hi - lo))


def points(plane: Plane, marks: Marks, name: str = "reward std") -> list[str]:
    """The marks in a group, the largest first, so that none hides a smaller one; `data-mark` is the index in `marks.values`.

    name  of what is drawn upwards
    """
    dense = len(marks.values) > DENSE
    smallest, most = (9.0, 150.0) if dense else (60.0, 1400.0)
    largest = max((mark.count for mark in marks.values), default=1)
    limits = (smallest, min(most, smallest * (1 + math.sqrt(largest))))
    symbols = [
        svg.symbol(plane.place((mark.mean, mark.value)), mark_size(mark.count, largest, limits), mark.verdict, mark_tip(mark, name), i)
        for i, mark in enumerate(marks.values)
    ]
    return [f'<g class="{"dense" if dense else "marks"}">', *symbols, "</g>"]


def mark_size(n: int, largest: int, limits: tuple[float, float]) -> float:
    """The diameter of a mark of n prompts: its area grows with the root of n, from the first limit to the second.

    >>> round(mark_size(1, 9, (math.pi, 4 * math.pi)), 6), round(mark_size(9, 9, (math.pi, 4 * math.pi)), 6)
    (2.0, 4.0)
    """
    share = (math.sqrt(n) - 1) / (math.sqrt(max(2, largest)) - 1)
    return svg.diameter(limits[0] + share * (limits[1] - limits[0]))


def mark_tip(mark: Mark, name: str = "reward std") -> str:
    """What a reader sees of a mark under the pointer."""
    return f"{noun(mark.count, 'prompt')}: {mark.verdict}\nmean reward  {decimal(mark.mean, 3)}\n{name}  {decimal(mark.value, 3)}"


def corner_reach(reward_model: str, reach: float) -> float | None:
    """From how many of its own stds below the top a prompt vanishes, where that decides: with binary rewards; else None.

    >>> corner_reach("binary", 4.36), corner_reach("continuous", 4.36)
    (4.36, None)
    """
    return reach if reward_model == "binary" and reach > 0 else None


def corner(plane: Plane, reach: float | None, lo: float, hi: float) -> list[str]:
    """Where the top of the range is more than `reach` of its own stds above the mean of a prompt."""
    if reach is None:
        return []
    edge = [(lo, 0.0), (lo, (hi - lo) / reach), (hi, 0.0)]
    return [svg.stretch(plane, [svg.outline([plane.place(point) for point in edge], "corner", close=True)], clip=True)]


def corner_label(plane: Plane, reach: float | None, lo: float, hi: float) -> list[str]:
    """What the corner is, over the marks, so that it can be read."""
    if reach is None:
        return []
    at = plane.place((lo + 0.2 * (hi - lo), 0.8 * (hi - lo) / reach * 0.42))
    return [svg.text((at[0], at[1] + 4), "vanishing gradient", anchor="start", dx=4)]


def envelope(plane: Plane, lo: float, hi: float, stretch: float) -> list[str]:
    """The largest std a reward in [lo, hi] can have at each mean: sqrt((mean - lo)(hi - mean)), stretched for ddof 1."""
    span = hi - lo
    steps = [(1 - math.cos(math.pi * k / 60)) / 2 for k in range(61)]  # dense at the ends, where the arc is steep
    arc = [plane.place((lo + t * span, stretch * span * math.sqrt(t * (1 - t)))) for t in steps]
    at = plane.place((lo + span / 2, stretch * span / 2))
    return [svg.stretch(plane, [svg.outline(arc, "envelope")]), svg.text((at[0], at[1] - 16), "largest possible std")]


def composition(summary: Summary) -> str:
    """The five verdicts' shares as bars, with intervals."""
    shares = blocks.shares(summary)
    total = sum(share.count for share in shares) or 1
    means = [share.mean if share.mean is not None else share.count / total for share in shares]
    ends = [max(mean, share.hi or 0.0) for mean, share in zip(means, shares, strict=True)]
    row = 34
    plane = Plane(Scale(0, min(1.0, max(ends) or 1.0) * 1.22), Scale(0, 1), row * len(shares))
    labels = [f"{share.verdict.name} · {count(share.count)}" for share in shares]
    body = []
    for i, (share, mean, end, label) in enumerate(zip(shares, means, ends, labels, strict=True)):
        middle = row * (i + 0.5)
        body += [
            svg.text((0, middle + 4.5), label, "label", anchor="end", dx=-10),
            svg.bar(0, plane.across(mean), middle - 9.5, 19, f"bar v-{share.verdict.name}"),
        ]
        if share.lo is not None and share.hi is not None:
            body.append(svg.rule((plane.across(share.lo), middle), (plane.across(share.hi), middle), "whisker"))
        body.append(svg.text((plane.across(end), middle + 4.5), percent(mean), "value", anchor="start", dx=10))
    left = round(7.6 * max(map(len, labels))) + 10
    title = "Bar chart of the five verdicts' shares; the table below holds the same numbers."
    return svg.chart(body, title=title, height=plane.height, left=left, top=6, bottom=16)


def forecast(summary: Summary) -> str | None:
    """The share of mixed groups against group size, with its interval; None where there is no forecast."""
    rows = blocks.forecasts(summary)
    if not rows:
        return None
    plane = Plane(Scale(-0.35, len(rows) - 0.65), Scale(0, 1), 230)  # group sizes stand at equal distances
    upwards = svg.axis_labels(plane.y, 5, percent=True)
    middles = [plane.place((i, row.informative)) for i, row in enumerate(rows)]
    body = [
        svg.y_axis(plane, "mixed groups", upwards),
        svg.x_axis(plane, "completions per prompt (group size)", [(i, str(row.group_size)) for i, row in enumerate(rows)]),
        svg.stretch(plane, [svg.band(plane, ((i, row.lo, row.hi) for i, row in enumerate(rows)), "band"), svg.outline(middles, "trend")]),
        *(svg.dot(at, 7.5 if row.planned else 5, "dot") for at, row in zip(middles, rows, strict=True)),
        # near the top under the line, or the label would cover the name of the axis
        *(
            svg.text((x, y + 22 if (row.informative or 0) > 0.9 else y - 13), percent(row.informative), "value")
            for (x, y), row in zip(middles, rows, strict=True)
        ),
    ]
    words = "; ".join(f"groups of {row.group_size}: {percent(row.informative)}" for row in rows)
    title = f"Line chart of the share of mixed groups. {words}"
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def padded(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the values, apart where there is one value only."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
