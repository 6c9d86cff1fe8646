"""The charts of a recipe's report as SVG text: each prompt's way, the warm-up, rewards by completions, verdicts by stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.report import blocks, svg
from flatspot.report.charts import MEAN, STD, corner, corner_label, corner_reach, envelope, mark_size, mark_tip
from flatspot.report.formats import count, decimal, noun, number, percent
from flatspot.report.marks import Mark
from flatspot.report.recipe.blocks import STAGES
from flatspot.report.recipe.paths import Path
from flatspot.report.svg import Plane, Point, Scale

if TYPE_CHECKING:
    from flatspot.runs.recipe_summary import CurveRow, RecipeSummary, RewardPoint

# each run of RL: its stage, its name, and the styles of its line, its band and its dots
_RUNS = (("train", "with warm-up", "trend", "band", "dot"), ("train-alone", "RL alone", "other", "other-band", "other-dot"))
_WIDTH = 330  # of a chart of two beside each other, in pixels: trails have their right width there


def moves(paths: Sequence[Path], summary: RecipeSummary, top: float, where: str = "") -> str | None:
    """Where each prompt went, mean against std: a trail that thickens towards its end, in the color of the verdict there.

    top    the largest std of any stage, so that all charts have one scale
    where  from which stage to which, in words
    """
    if not paths:
        return None
    lo, hi = _range(summary.reward_range)
    span, fewest = hi - lo, summary.fewest_completions
    stretch = math.sqrt(fewest / (fewest - 1)) if fewest and fewest > 1 else 1.0
    reach = corner_reach(summary.reward_model, summary.reach_threshold)
    top = max(top, stretch * span / 2) * 1.16
    plane = Plane(Scale(lo - 0.04 * span, hi + 0.04 * span), Scale(-0.04 * top, top), 250)
    upwards = svg.axis_labels(plane.y, 5)
    arrivals: dict[tuple[Point, str], int] = {}
    for path in paths:
        arrivals[path.end, path.now] = arrivals.get((path.end, path.now), 0) + path.count
    marks = [Mark(verdict, *end, n) for (end, verdict), n in arrivals.items()]
    largest = max(mark.count for mark in marks)
    limits = (40.0, max(60.0, min(900.0, 40 * largest**0.5)))
    body = [
        svg.y_axis(plane, STD, upwards),
        svg.x_axis(plane, MEAN, svg.axis_labels(plane.x, 5)),
        *corner(plane, reach, lo, hi),
        *envelope(plane, lo, hi, stretch),
        f'<g fill-opacity="{0.35 if len(paths) > 60 else 0.5}">',
        svg.stretch(plane, (_trail(plane, path) for path in paths)),
        '</g><g class="marks">',
        *(svg.symbol(plane.place((m.mean, m.value)), mark_size(m.count, largest, limits), m.verdict, mark_tip(m)) for m in marks),
        "</g>",
        *corner_label(plane, reach, lo, hi),
    ]
    ways = f"{where}, " if where else ""
    title = f"Each prompt's way, {ways}mean reward across and reward standard deviation upwards. The numbers are in paths.parquet."
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _trail(plane: Plane, path: Path) -> str:
    """A wedge from where the prompts were, 0.4 pixels wide, to where they are, 4 pixels wide."""
    (x1, y1), (x2, y2) = plane.place(path.start), plane.place(path.end)
    across, down = (x2 - x1) / 100 * _WIDTH, y2 - y1
    length = math.hypot(across, down)
    if not length:
        return ""
    aside, below = -down / length / _WIDTH * 100, across / length  # one pixel to the side of the way
    corners = [(x1 + w * aside, y1 + w * below) for w in (0.2, -0.2)] + [(x2 + w * aside, y2 + w * below) for w in (-2.0, 2.0)]
    return svg.outline(corners, f"trail v-{svg.shape_of(path.now)}", close=True)


@dataclass(frozen=True, slots=True)
class _Probe:
    """One point of the warm-up's curve."""

    step: int
    value: float
    lo: float | None = None
    hi: float | None = None


def warm_up(curve: Sequence[CurveRow], checkpoint: int) -> str | None:
    """Mean pass@K, or the share of prompts recovered, by step, with the selected checkpoint; None without probes."""
    probes = []
    for row in curve:
        share = row.get("ready") or row.get("recovered")
        if isinstance(share, Mapping) and (mean := number(share.get("mean"))) is not None:
            probes.append(_Probe(_step(row), mean, number(share.get("lo")), number(share.get("hi"))))
    if not probes:
        return None
    title = "Line chart of mean pass@K by step of the warm-up, with its 95% limits and the selected step."
    return _by_step(probes, checkpoint, "mean pass@K", title, (0.0, 1.0), percents=True)


def warm_up_reward(curve: Sequence[CurveRow], checkpoint: int, reward_range: tuple[float, float]) -> str | None:
    """Mean reward of the probed prompts by step; None where it was not measured."""
    probes = [_Probe(_step(row), reward) for row in curve if (reward := number(row.get("reward"))) is not None]
    if not probes:
        return None
    title = "Line chart of the mean reward by step of the warm-up."
    return _by_step(probes, checkpoint, "mean reward", title, _range(reward_range))


def _step(row: CurveRow) -> int:
    return int(number(row.get("step")) or 0)


def _by_step(
    probes: Sequence[_Probe], checkpoint: int, name: str, title: str, limits: tuple[float, float], *, percents: bool = False
) -> str:  # fmt: skip
    last = max(max(probe.step for probe in probes), 1)
    plane = Plane(Scale(0, last), Scale(*limits), 200)
    upwards = svg.axis_labels(plane.y, 5, percent=percents)
    steps = [(step, f"{step:,.0f}") for step in plane.x.ticks(min(6, last)) if step == int(step)]
    places = [plane.place((probe.step, probe.value)) for probe in probes]
    write = percent if percents else decimal
    body = [
        svg.y_axis(plane, name, upwards),
        svg.x_axis(plane, "step of the warm-up", steps),
        svg.stretch(plane, [svg.band(plane, ((p.step, p.lo, p.hi) for p in probes), "band"), svg.outline(places, "trend")]),
        *(svg.dot(at, 4, "dot", f"step  {p.step}\n{name}  {write(p.value)}") for at, p in zip(places, probes, strict=True)),
        *(
            part
            for at, p in zip(places, probes, strict=True)
            if p.step == checkpoint
            for part in _checkpoint_mark(plane, at, p, write(p.value))
        ),
    ]
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _checkpoint_mark(plane: Plane, at: Point, probe: _Probe, value: str) -> list[str]:
    """A rule at the selected checkpoint, named on the side that has room."""
    anchor, dx = ("start", 7) if at[0] < 60 else ("end", -7)
    words = f"selected: step {probe.step}, {value}"
    return [
        svg.rule((at[0], plane.height), at, "checkpoint"),
        svg.dot(at, 7.5, "dot", f"selected\nstep  {probe.step}\nvalue  {value}"),
        svg.text((at[0], plane.height - 8), words, "value", anchor=anchor, dx=dx),
    ]


def rewards(summary: RecipeSummary) -> str | None:
    """Mean reward of the rollouts by completions drawn, with and without the warm-up."""
    curves = {stage: _scored(points) for stage, points in summary.rewards.items()}
    runs = [(curves[stage], name, styles) for stage, name, *styles in _RUNS if curves.get(stage)]
    if not runs:
        return None
    most = max(point.generations for points, _, _ in runs for point, _ in points)
    plane = Plane(Scale(0, most), Scale(*_range(summary.reward_range)), 250)
    upwards = svg.axis_labels(plane.y, 5)
    across = [(value, f"{value:,.0f}") for value in plane.x.ticks(5)]
    body = [svg.y_axis(plane, "mean reward", upwards), svg.x_axis(plane, "completions drawn, probes included", across)]
    for points, name, (line, limits, dot) in runs:
        places = [plane.place((point.generations, reward)) for point, reward in points]
        band = svg.band(plane, ((point.generations, number(point.lo), number(point.hi)) for point, _ in points), limits)
        body.append(svg.stretch(plane, [band, svg.outline(places, line)]))
        for at, (point, reward) in zip(places, points, strict=True):
            tip = f"{name}\nupdate  {count(point.step)}\ncompletions  {count(point.generations)}\nreward  {decimal(reward, 3)}"
            body.append(svg.dot(at, 3.1, dot, tip))
    title = "Line chart of the mean reward by completions drawn" + (", with and without the warm-up." if len(runs) > 1 else ".")
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards), right=26)


def _scored(points: Sequence[RewardPoint]) -> list[tuple[RewardPoint, float]]:
    return [(point, reward) for point in points if (reward := number(point.reward)) is not None]


def verdicts(summary: RecipeSummary) -> str | None:
    """The verdicts of each diagnosis as one bar."""
    row, bars = 44, []
    for i, (name, policy) in enumerate(summary.policies.items()):
        counts, start = dict(policy.counts.items()), 0
        total = sum(counts.values()) or 1
        bars.append(svg.text((0, row * (i + 0.5) + 4.5), STAGES[name], "label", anchor="end", dx=-10))
        for verdict, n in ((verdict.name, counts[verdict.name]) for verdict in blocks.VERDICTS):
            if n:
                left, right = 100 * start / total, 100 * (start + n) / total
                bars.append(svg.bar(left, right, row * i + 8, 28, f"part v-{verdict}", f"{STAGES[name]}\n{noun(n, 'prompt')}: {verdict}"))
                if right - left > 2 + 2.5 * len(count(n)):
                    bars.append(svg.text(((left + right) / 2, row * (i + 0.5) + 4.5), count(n), "on-part"))
                start += n
    if len(bars) == len(summary.policies):
        return None
    left = round(7.2 * max(len(STAGES[name]) for name in summary.policies)) + 12
    title = "Bars of how many prompts got each verdict, by stage; the table below has the shares."
    return svg.chart(bars, title=title, height=row * len(summary.policies), left=left, top=0, right=2, bottom=16)


def _range(limits: tuple[float, float]) -> tuple[float, float]:
    return blocks.range_limits(limits) or (0.0, 1.0)
