"""The chart of what the best completion of a group earns beyond the mean: mean reward across, expected best of a group upwards."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.report import blocks, svg
from flatspot.report.charts import MEAN, mean_scale, padded, points
from flatspot.report.formats import decimal, noun
from flatspot.report.marks import Marks
from flatspot.report.svg import Plane, Scale

_LABELS = (0.28, 0.62)  # where along the diagonal its two labels start: beside each other, also on a phone


def gain_chart(marks: Marks, reward_range: Sequence[float] | None, group_size: int, threshold: float, epsilon: float | None = None) -> str:
    """Mean reward against the expected best of a group, one mark per place, sized by its prompts.

    reward_range  of the reward; None where it is not known: there is no line at its top then
    threshold     the gain under which there is no signal, whose strip along the diagonal is tinted; 0: no strip
    epsilon       of binary rewards: the chance of the rarer reward under which there is no signal, tinted at both ends instead; None: of
                  graded ones
    """
    means, bests = [mark.mean for mark in marks.values], [mark.value for mark in marks.values]
    limits = blocks.range_limits(reward_range) if reward_range is not None else None
    lo, hi = limits or padded([*means, *bests])
    x = mean_scale(means, lo, hi)
    room = hi - lo
    plane = Plane(x, Scale(min([x.low, *bests]), max([hi, *bests]) + (0.12 if limits else 0.04) * room), 380)
    upwards = svg.axis_labels(plane.y, 5)
    best = f"best of {group_size}"
    n = sum(mark.count for mark in marks.values)
    title = (
        f"Scatter plot of {noun(n, 'prompt')}: mean reward across, expected best reward of a group of {group_size} upwards, verdict by "
        "color and shape. The same numbers are in the table of prompts."
    )
    body = [
        svg.y_axis(plane, f"expected {best}", upwards),
        svg.x_axis(plane, MEAN, svg.axis_labels(plane.x, 6)),
        *(_ends(plane, limits, epsilon) if limits and epsilon else []),
        *_strip(plane, 0.0 if epsilon else threshold),
        *(_top(plane, hi) if limits else []),
        *points(plane, marks, best),
        *_labels(
            plane, lo, hi, "no signal: tinted" if epsilon else f"no signal: gain under {decimal(threshold, 3)}" if threshold > 0 else ""
        ),
    ]
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _ends(plane: Plane, limits: tuple[float, float], epsilon: float) -> list[str]:
    """The means of binary rewards one of which is rarer than `epsilon`, at either end of the axis."""
    lo, hi = limits
    width = epsilon * (hi - lo)
    bands = [(plane.x.low, lo + width), (hi - width, plane.x.high)]
    corners = [[plane.place(at) for at in ((a, plane.y.low), (a, plane.y.high), (b, plane.y.high), (b, plane.y.low))] for a, b in bands]
    return [svg.stretch(plane, [svg.outline(band, "corner", close=True) for band in corners], clip=True)]


def _strip(plane: Plane, threshold: float) -> list[str]:
    """The diagonal, where the best of a group earns the mean; the line of the threshold above it, and the strip between them."""
    ends = (plane.x.low, plane.x.high)
    diagonal = [plane.place((mean, mean)) for mean in ends]
    edge = [plane.place((mean, mean + threshold)) for mean in ends]
    strip = [svg.outline([*diagonal, *reversed(edge)], "corner", close=True), svg.outline(edge, "envelope")] if threshold > 0 else []
    return [svg.stretch(plane, [*strip, svg.outline(diagonal, "diagonal")], clip=True)]


def _top(plane: Plane, hi: float) -> list[str]:
    """The top of the range, which no best of a group passes."""
    height = plane.down(hi)
    return [svg.rule((0, height), (100, height), "envelope"), svg.text((0, height - 8), "top of the range", anchor="start", dx=6)]


def _labels(plane: Plane, lo: float, hi: float, tint: str) -> list[str]:
    """What the diagonal and the tint are, under the diagonal, where no mark can be."""
    words = [*([tint] if tint else []), "nothing to gain"]
    starts = [plane.place((lo + share * (hi - lo),) * 2) for share in _LABELS[-len(words) :]]
    return [svg.text((at[0], at[1] + 17), text, anchor="start", dx=8) for at, text in zip(starts, words, strict=True)]
