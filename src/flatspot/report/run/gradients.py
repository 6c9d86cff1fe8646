"""The report's section on measured gradients: std against gradient norm, log-log. Lays out what gradients.parquet holds."""

from __future__ import annotations

import math
from typing import Any

from flatspot.report.blocks import VERDICTS, Fact, ReportData, section
from flatspot.report.charts import Spec, frame
from flatspot.report.formats import decimal, noun, number
from flatspot.report.theme import SHAPES

_NAMES = [verdict.name for verdict in VERDICTS]


def gradient_marks(data: ReportData) -> list[dict[str, Any]]:
    """A mark per measured prompt with a std above 0 and an upper limit above 0: only those have a place on logarithmic axes.

    The std is that of the rewards the norm was measured on. That of the verdict would be of other completions, and of as few as were
    enough to judge the prompt. `norm` is None where the estimate is not above 0, and `low` where the lower limit is not: the line then
    runs to the edge.
    """
    if data.gradients is None:
        return []
    verdicts = dict(zip(*(data.verdicts[name].to_pylist() for name in ("prompt_id", "verdict")), strict=True))
    marks = []
    for row in data.gradients.to_pylist():
        std, high = number(row["std"]), number(row["grad_norm_hi"])
        if row["prompt_id"] in verdicts and std and high and std > 0 and high > 0:
            norm, low, bound = (number(row[key]) or None for key in ("grad_norm", "grad_norm_lo", "bound_score"))
            marks.append({"verdict": verdicts[row["prompt_id"]], "std": std, "norm": norm, "low": low, "high": high, "bound": bound})
    return marks


def gradient_facts(data: ReportData) -> tuple[Fact, ...]:
    """How many prompts were measured, on how many completions each, and how many could not be; empty where none was asked for."""
    if data.gradients is None or not data.gradients.num_rows:
        return ()
    rows = data.gradients.to_pylist()
    failed = sum(row["error"] is not None for row in rows)
    lengths = [row["max_length"] for row in rows if row["max_length"] is not None]
    together = section(section(data.summary, "gradients"), "std_and_norm").get("rank_correlation")
    found = [
        Fact("measured", noun(len(rows) - failed, "prompt"), f"{rows[0]['n_samples']} completions each, beside those of the run"),
        Fact("not measured", noun(failed, "prompt"), str(next((row["error"] for row in rows if row["error"]), ""))),
        Fact("rank correlation of std and norm", decimal(together), "over all that were measured"),
        Fact("longest completion", noun(max(lengths, default=0), "token")),
        Fact(
            "largest γ found", decimal(max((row["gamma"] for row in rows if row["gamma"] is not None), default=None), 1), "a lower estimate"
        ),
    ]
    return tuple(fact for fact in found if failed or fact.label != "not measured")


def gradient_chart(marks: list[dict[str, Any]]) -> Spec | None:
    """Std across, gradient norm upwards, both logarithmic: the estimate, its 95% limits, and the score bound as a tick."""
    if not marks:
        return None
    floor = 10 ** math.floor(math.log10(min(mark["norm"] or mark["high"] for mark in marks)) - 0.5)
    values = [{**mark, "bottom": max(mark["low"] or floor, floor)} for mark in marks]
    top = max(max(mark["high"], mark["bound"] or 0) for mark in marks)
    axis = {"tickCount": 6, "format": "~g"}
    x = {"field": "std", "type": "quantitative", "title": "reward std of the same completions", "axis": {**axis, "grid": False}}
    x |= {"scale": {"type": "log", "nice": False, "domain": [min(m["std"] for m in marks) / 1.3, max(m["std"] for m in marks) * 1.3]}}
    y = {
        "type": "quantitative",
        "scale": {"type": "log", "domain": [floor, top * 1.3], "nice": False},
        "title": "gradient norm",
        "axis": axis,
    }
    verdict = {"field": "verdict", "type": "nominal"}
    color = {**verdict, "scale": {"domain": _NAMES}}
    tooltip = [{**verdict, "title": "verdict"}]
    told = (("std", "reward std"), ("norm", "gradient norm"), ("low", "from"), ("high", "to"), ("bound", "score bound"))
    tooltip += [{"field": field, "type": "quantitative", "title": title, "format": ".3~g"} for field, title in told]
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.45},
            "encoding": {"y": {**y, "field": "bottom"}, "y2": {"field": "high"}, "color": color},
        },
        {
            "transform": [{"filter": "isValid(datum.bound)"}],
            "mark": {"type": "tick", "style": "bound", "orient": "horizontal", "thickness": 2, "size": 12},
            "encoding": {"y": {**y, "field": "bound"}},
        },
        {
            "transform": [{"filter": "isValid(datum.norm)"}],
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.9},
            "encoding": {
                "y": {**y, "field": "norm"},
                "color": color,
                "shape": {**verdict, "scale": {"domain": _NAMES, "range": list(SHAPES)}},
                "tooltip": tooltip,
            },
        },
    ]
    return {"height": 360, "data": {"values": values}, "encoding": {"x": x}, "layer": layers, **frame()}
