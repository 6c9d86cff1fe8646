"""The report's section on a training's steps: the share of groups whose rewards are equal, and the mean std within a group."""

from __future__ import annotations

from flatspot.report import svg
from flatspot.report.formats import decimal, noun, percent
from flatspot.report.svg import Plane, Scale
from flatspot.runs.by_step import GroupCurve


def flat_chart(curve: GroupCurve) -> str:
    """The share of groups without a difference in their rewards, by step, with its 95% limits."""
    rows = list(zip(curve.step.tolist(), curve.flat.tolist(), curve.lo.tolist(), curve.hi.tolist(), curve.groups.tolist(), strict=True))
    plane = Plane(_across(curve), Scale(0, 1), 230)
    upwards = svg.axis_labels(plane.y, 5, percent=True)
    middles = [plane.place((step, flat)) for step, flat, *_ in rows]
    tips = [f"step {step:,}: {percent(flat)} of {noun(n, 'group')}\n{percent(lo)} to {percent(hi)}" for step, flat, lo, hi, n in rows]
    body = [
        svg.y_axis(plane, "groups whose rewards are equal", upwards),
        svg.x_axis(plane, "step", svg.axis_labels(plane.x, 6)),
        svg.stretch(plane, [svg.band(plane, ((step, lo, hi) for step, _, lo, hi, _ in rows), "band"), svg.outline(middles, "trend")]),
        *(svg.dot(at, 5, "dot", tip) for at, tip in zip(middles, tips, strict=True)),
    ]
    title = f"Line chart of the share of groups whose rewards are equal, by step. {'; '.join(tip.splitlines()[0] for tip in tips)}"
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def std_chart(curve: GroupCurve) -> str:
    """The mean std of the rewards within a group, by step."""
    rows = list(zip(curve.step.tolist(), curve.std.tolist(), curve.groups.tolist(), strict=True))
    plane = Plane(_across(curve), Scale(0, 1.14 * max(curve.std.tolist()) or 1.0), 230)
    upwards = svg.axis_labels(plane.y, 5)
    middles = [plane.place((step, std)) for step, std, _ in rows]
    tips = [f"step {step:,}: {decimal(std, 3)}, of {noun(n, 'group')}" for step, std, n in rows]
    body = [
        svg.y_axis(plane, "mean reward std within a group", upwards),
        svg.x_axis(plane, "step", svg.axis_labels(plane.x, 6)),
        svg.stretch(plane, [svg.outline(middles, "trend")]),
        *(svg.dot(at, 5, "dot", tip) for at, tip in zip(middles, tips, strict=True)),
    ]
    title = f"Line chart of the mean reward std within a group, by step. {'; '.join(tips)}"
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _across(curve: GroupCurve) -> Scale:
    first, final = float(curve.step[0]), float(curve.step[-1])
    room = 0.03 * (final - first)
    return Scale(first - room, final + room)
