"""The pictures of a recipe's report: prompts on their way, the warm-up, rewards by completions, verdicts by stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flatspot.report import blocks
from flatspot.report.charts import Spec, corner, envelope, frame
from flatspot.report.formats import count, number, percent
from flatspot.report.recipe.blocks import STAGES
from flatspot.report.recipe.paths import Path
from flatspot.report.theme import SHAPES

_NAMES = [verdict.name for verdict in blocks.VERDICTS]
_CURVES = {"train": "with warm-up", "train-alone": "RL alone"}


def moves(paths: Sequence[Path], summary: blocks.Summary, top: float) -> Spec | None:
    """Where each prompt went, mean against std: a trail that thickens towards its end, in the colour of the verdict there.

    top  the largest std of any stage, so that all pictures have one scale
    """
    if not paths:
        return None
    lo, hi = _range(summary)
    span, fewest = hi - lo, number(summary.get("fewest_completions"))
    stretch = math.sqrt(fewest / (fewest - 1)) if fewest and fewest > 1 else 1.0
    top = max(top, stretch * span / 2) * 1.16
    x_scale = {"domain": [lo - 0.04 * span, hi + 0.04 * span], "nice": False, "zero": False}
    y_scale = {"domain": [-0.04 * top, top], "nice": False}
    x = {"field": "mean", "type": "quantitative", "title": "mean reward of the prompt", "scale": x_scale}
    y = {"field": "std", "type": "quantitative", "title": "reward std within the prompt", "scale": y_scale}
    x |= {"axis": {"grid": False, "tickCount": 5}}
    y |= {"axis": {"tickCount": 5}}
    color = {"field": "now", "type": "nominal", "scale": {"domain": _NAMES}}
    ends = [
        {"path": i, "end": end, "mean": mean, "std": std, "now": path.now, "count": path.count, "width": 0.4 + 4.6 * end}
        for i, path in enumerate(paths)
        for end, (mean, std) in enumerate((path.start, path.end))
    ]
    arrived: dict[tuple[Any, ...], int] = {}
    for path in paths:
        arrived[(*path.end, path.now)] = arrived.get((*path.end, path.now), 0) + path.count
    points = [{"mean": m, "std": s, "now": now, "count": n} for (m, s, now), n in arrived.items()]
    trail: Spec = {
        "data": {"values": ends},
        "mark": {"type": "trail", "opacity": 0.35 if len(paths) > 60 else 0.5},
        "encoding": {
            "detail": {"field": "path"},
            "order": {"field": "end"},
            "color": color,
            "size": {"field": "width", "type": "quantitative", "scale": {"domain": [0, 5], "range": [0, 5]}},
        },
    }
    below, named = (found := corner(summary, lo, hi))[:1], found[1:]
    layers: list[Spec] = [*below, *envelope(lo, hi, stretch), trail, _arrived(points, color), *_on_top(named)]
    shared: Spec = {"encoding": {"x": x, "y": y}, "resolve": {"scale": {"size": "independent"}}}
    return {"height": 300, **shared, "layer": layers, **frame()}


def _on_top(labels: Sequence[Spec]) -> list[Spec]:
    """Labels that stay legible over the trails: on a halo of the paper's colour."""
    return [{**label, "mark": {**label["mark"], "style": style}} for label in labels for style in ("halo", "note")]


def _arrived(points: list[dict[str, Any]], color: Mapping[str, Any]) -> Spec:
    most = max(point["count"] for point in points)
    tooltip = [("now", "verdict", None), ("count", "prompts here", ","), ("mean", "mean reward", ".3~f"), ("std", "reward std", ".3~f")]
    return {
        "data": {"values": points},
        "mark": {"type": "point", "filled": True, "opacity": 0.85},
        "encoding": {
            "color": color,
            "shape": {"field": "now", "type": "nominal", "scale": {"domain": _NAMES, "range": list(SHAPES)}},
            "size": {
                "field": "count",
                "type": "quantitative",
                "scale": {"type": "sqrt", "domain": [1, max(2, most)], "range": [40, max(60, min(900, 40 * most**0.5))]},
            },
            "tooltip": [{"field": f, "title": t, **({"format": form} if form else {})} for f, t, form in tooltip],
        },
    }


def warm_up(curve: Sequence[Mapping[str, Any]], chosen: int) -> Spec | None:
    """The share of prompts ready for RL and the share recovered, by step, with the checkpoint that was taken; None without probes."""
    rows = []
    for row in curve:
        share = row.get("ready") or row.get("recovered")
        if isinstance(share, Mapping) and number(share.get("mean")) is not None:
            rows.append({"step": row["step"], "share": share["mean"], "lo": share.get("lo"), "hi": share.get("hi")})
    if not rows:
        return None
    last = max(row["step"] for row in rows)
    taken = next((row for row in rows if row["step"] == chosen), None)
    x = {"field": "step", "type": "quantitative", "title": "step of the warm-up", "scale": {"domain": [0, max(last, 1)], "nice": False}}
    x |= {"axis": {"grid": False, "tickCount": min(6, max(last, 1)), "format": "d"}}
    y = {"field": "share", "type": "quantitative", "title": "prompts ready for RL", "scale": {"domain": [0, 1]}}
    y |= {"axis": {"format": "%", "tickCount": 5}}
    band: Spec = {"y": {"field": "lo", "type": "quantitative"}, "y2": {"field": "hi"}}
    layers: list[Spec] = [
        {
            "transform": [{"filter": "isValid(datum.lo) && isValid(datum.hi)"}],
            "mark": {"type": "area", "style": "band"},
            "encoding": band,
        },
        {"mark": {"type": "line", "style": "trend"}},
        {"mark": {"type": "point", "style": "dot", "filled": True, "opacity": 1, "size": 50}, "encoding": {"tooltip": _told("share", "%")}},
        *_taken(taken, last, percent(taken["share"]) if taken else ""),
    ]
    return {"height": 240, "data": {"values": rows}, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def warm_up_reward(curve: Sequence[Mapping[str, Any]], chosen: int, summary: blocks.Summary) -> Spec | None:
    """Mean reward of the probed prompts by step; None where it was not measured."""
    rows = [{"step": row["step"], "reward": row["reward"]} for row in curve if number(row.get("reward")) is not None]
    if not rows:
        return None
    lo, hi = _range(summary)
    last = max(row["step"] for row in rows)
    taken = next((row for row in rows if row["step"] == chosen), None)
    x = {"field": "step", "type": "quantitative", "title": "step of the warm-up", "scale": {"domain": [0, max(last, 1)], "nice": False}}
    x |= {"axis": {"grid": False, "tickCount": min(6, max(last, 1)), "format": "d"}}
    y = {"field": "reward", "type": "quantitative", "title": "mean reward", "scale": {"domain": [lo, hi]}, "axis": {"tickCount": 5}}
    layers: list[Spec] = [
        {"mark": {"type": "line", "style": "trend"}},
        {
            "mark": {"type": "point", "style": "dot", "filled": True, "opacity": 1, "size": 50},
            "encoding": {"tooltip": _told("reward", ".3~f")},
        },
        *_taken(taken, last, f"{taken['reward']:.2f}" if taken else "", field="reward"),
    ]
    return {"height": 240, "data": {"values": rows}, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def _told(field: str, form: str) -> list[Spec]:
    fmt = ".1%" if form == "%" else form
    return [{"field": "step", "title": "step"}, {"field": field, "title": field, "format": fmt}]


def _taken(taken: Mapping[str, Any] | None, last: int, text: str, field: str = "share") -> list[Spec]:
    """A rule at the checkpoint that was taken, named on the side that has room."""
    if taken is None:
        return []
    right = taken["step"] < 0.6 * last
    step: Spec = {"field": "step", "type": "quantitative"}
    value: Spec = {"field": field, "type": "quantitative"}
    data: Spec = {"values": [{**taken, "text": f"taken: step {taken['step']}, {text}"}]}
    place: Spec = {"align": "left" if right else "right", "dx": 7 if right else -7, "baseline": "bottom"}
    foot: Spec = {"y": {"value": {"expr": "height - 6"}}, "text": {"field": "text"}}
    ends: Spec = {"y": {"value": {"expr": "height"}}, "y2": value}
    return [
        {"data": data, "mark": {"type": "rule", "style": "taken"}, "encoding": {"x": step, **ends}},
        {
            "data": data,
            "mark": {"type": "point", "style": "dot", "filled": True, "opacity": 1, "size": 190},
            "encoding": {"x": step, "y": value},
        },
        {"data": data, "mark": {"type": "text", "style": "value", **place}, "encoding": {"x": step, **foot}},
    ]


def rewards(summary: blocks.Summary) -> Spec | None:
    """Mean reward of the rollouts by completions drawn, with and without the warm-up."""
    rows = [
        {**row, "run": _CURVES.get(name, name)} for name, curve in blocks.section(summary, "rewards").items() for row in curve
        if number(row.get("reward")) is not None
    ]  # fmt: skip
    if not rows:
        return None
    lo, hi = _range(summary)
    most = max(row["generations"] for row in rows)
    x: Spec = {"field": "generations", "type": "quantitative", "title": "completions drawn, probes included"}
    x |= {"scale": {"domain": [0, most], "nice": False}, "axis": {"grid": False, "tickCount": 5, "format": ",.0f"}}
    y: Spec = {"field": "reward", "type": "quantitative", "title": "mean reward", "scale": {"domain": [lo, hi]}, "axis": {"tickCount": 5}}
    layers: list[Spec] = []
    limits: Spec = {"y": {"field": "lo", "type": "quantitative"}, "y2": {"field": "hi"}}
    for run, (line, band) in zip(_CURVES.values(), (("trend", "band"), ("other", "other-band")), strict=True):
        mine = [row for row in rows if row["run"] == run]
        if not mine:
            continue
        one: Spec = {"data": {"values": mine}}
        told: list[Spec] = [{"field": "run"}, {"field": "step", "title": "update"}, {"field": "generations", "format": ","}]
        layers += [
            {**one, "mark": {"type": "area", "style": band}, "encoding": limits},
            {**one, "mark": {"type": "line", "style": line}},
            {
                **one,
                "mark": {"type": "point", "style": line, "filled": True, "opacity": 1, "size": 30, "strokeWidth": 0},
                "encoding": {"tooltip": [*told, {"field": "reward", "format": ".3~f"}]},
            },
        ]
    return {"height": 300, "encoding": {"x": x, "y": y}, "layer": layers, **frame()}


def verdicts(summary: blocks.Summary) -> Spec | None:
    """The verdicts of each diagnosis as one bar."""
    rows = []
    for name, policy in blocks.section(summary, "policies").items():
        counts = blocks.section(policy, "counts")
        total = sum(counts.values()) or 1
        for order, verdict in enumerate(_NAMES):
            if n := counts.get(verdict, 0):
                label = count(n) if n / total > 0.07 else ""
                rows.append({"stage": STAGES[name], "verdict": verdict, "share": n / total, "count": n, "order": order, "text": label})
    if not rows:
        return None
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    y_axis = {"domain": False, "ticks": False, "labelFontSize": 13, "labelPadding": 10, "labelOverlap": False}
    y = {"field": "stage", "type": "nominal", "title": None, "sort": stages, "axis": y_axis}
    x = {"field": "share", "type": "quantitative", "title": None, "stack": "zero", "scale": {"domain": [0, 1]}, "axis": None}
    tooltip = [{"field": "stage"}, {"field": "verdict"}, {"field": "count", "title": "prompts", "format": ","}]
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "height": {"band": 0.62}, "style": "part"},
            "encoding": {"color": {"field": "verdict", "type": "nominal", "scale": {"domain": _NAMES}}, "tooltip": tooltip},
        },
        {"mark": {"type": "text", "style": "on-part"}, "encoding": {"x": {**x, "bandPosition": 0.5}, "text": {"field": "text"}}},
    ]
    encoding = {"x": x, "y": y, "order": {"field": "order"}}
    return {"height": 44 * len(stages), "data": {"values": rows}, "encoding": encoding, "layer": layers, **frame()}


def _range(summary: blocks.Summary) -> tuple[float, float]:
    found = summary.get("reward_range")
    if isinstance(found, Sequence) and len(found) == 2:
        lo, hi = number(found[0]), number(found[1])
        if lo is not None and hi is not None and lo < hi:
            return lo, hi
    return 0.0, 1.0
