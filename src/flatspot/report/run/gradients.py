"""The report's section on measured gradients: std against gradient norm, log-log. Lays out what gradients.parquet holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flatspot.report import svg
from flatspot.report.blocks import Fact, ReportData
from flatspot.report.formats import decimal, noun, number
from flatspot.report.svg import Plane, Scale


@dataclass(frozen=True, slots=True)
class GradientMark:
    """One measured prompt: its std, the norm's estimate with its 95% limits, and the score bound.

    norm  None where the estimate is not above 0
    low   None where the lower limit is not: the line then runs to the edge
    """

    verdict: str
    std: float
    norm: float | None
    low: float | None
    high: float
    bound: float | None


def gradient_marks(data: ReportData) -> list[GradientMark]:
    """A mark per measured prompt whose std and upper limit are above 0, and no less or more than axes show: others have no place on them.

    The std is that of the rewards the norm was measured on. That of the verdict would be of other completions, and of as few as were
    enough to judge the prompt.
    """
    if data.gradients is None:
        return []
    verdicts = dict(zip(*(data.verdicts[name].to_pylist() for name in ("prompt_id", "verdict")), strict=True))
    marks = []
    for row in data.gradients.to_pylist():
        std, high = _positive(row["std"]), _positive(row["grad_norm_hi"])
        if row["prompt_id"] in verdicts and std and high:
            norm, low, bound = (_positive(row[key]) for key in ("grad_norm", "grad_norm_lo", "bound_score"))
            marks.append(GradientMark(verdicts[row["prompt_id"]], std, norm, low, high, bound))
    return marks


def _positive(value: object) -> float | None:
    """The number where it has a place on a logarithmic axis; its ends, a factor away, are floats too."""
    x = number(value)
    return x if x is not None and 1e-300 < x < 1e300 else None


def gradient_facts(data: ReportData) -> tuple[Fact, ...]:
    """How many prompts were measured, on how many completions each, and how many could not be; empty where none was asked for."""
    if data.gradients is None or not data.gradients.num_rows:
        return ()
    rows = data.gradients.to_pylist()
    failed = sum(row["error"] is not None for row in rows)
    lengths = [row["max_length"] for row in rows if row["max_length"] is not None]
    measured = data.summary.gradients
    facts = [
        Fact("measured", noun(len(rows) - failed, "prompt"), f"{rows[0]['n_samples']} completions each, beside those of the run"),
        Fact("not measured", noun(failed, "prompt"), str(next((row["error"] for row in rows if row["error"]), ""))),
        Fact(
            "rank correlation of std and norm",
            decimal(measured.std_and_norm.rank_correlation if measured else None),
            "over all that were measured",
        ),
        Fact("longest completion", noun(max(lengths, default=0), "token")),
        Fact(
            "largest γ found", decimal(max((row["gamma"] for row in rows if row["gamma"] is not None), default=None), 1), "a lower estimate"
        ),
    ]
    return tuple(fact for fact in facts if failed or fact.label != "not measured")


def gradient_chart(marks: Sequence[GradientMark]) -> str | None:
    """Std across, gradient norm upwards, both logarithmic: the estimate, its 95% limits, and the score bound as a tick."""
    if not marks:
        return None
    floor = 10 ** math.floor(math.log10(min(mark.norm or mark.high for mark in marks)) - 0.5)
    top = max(max(mark.high, mark.bound or 0.0) for mark in marks)
    stds = [mark.std for mark in marks]
    plane = Plane(Scale(min(stds) / 1.3, max(stds) * 1.3, log=True), Scale(floor, top * 1.3, log=True), 340)
    upwards = svg.axis_labels(plane.y, 6)
    limits = [
        svg.rule(plane.place((mark.std, max(mark.low or floor, floor))), plane.place((mark.std, mark.high)), _limits_style(mark))
        for mark in marks
    ]
    bounds = [svg.tick(plane.place((mark.std, mark.bound)), 12, "bound") for mark in marks if mark.bound]
    points = [svg.symbol(plane.place((mark.std, mark.norm)), svg.diameter(70), mark.verdict, _tip(mark)) for mark in marks if mark.norm]
    title = (
        f"Scatter plot on logarithmic axes of {noun(len(marks), 'prompt')}: reward standard deviation across, measured gradient norm "
        "upwards with its interval. The numbers are in gradients.parquet of the run folder."
    )
    body = [
        svg.y_axis(plane, "gradient norm", upwards),
        svg.x_axis(plane, "reward std of the same completions", svg.axis_labels(plane.x, 6)),
        *limits,
        *bounds,
        *points,
    ]
    return svg.chart(body, title=title, height=plane.height, left=svg.left_margin(upwards))


def _limits_style(mark: GradientMark) -> str:
    return f"limits v-{svg.shape_of(mark.verdict)}"


def _tip(mark: GradientMark) -> str:
    values = (("reward std", mark.std), ("gradient norm", mark.norm), ("from", mark.low), ("to", mark.high), ("score bound", mark.bound))
    return "\n".join([mark.verdict, *(f"{name}  {value:.3g}" for name, value in values if value is not None)])
