import dataclasses
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from flatspot.core.schema import GRADIENTS, arrow_schema
from flatspot.report.run.gradients import gradient_chart, gradient_facts, gradient_marks
from flatspot.report.run.html import render_html

sys.path.insert(0, str(Path(__file__).parents[1]))
from ruler import Ruler, all_of, at


@pytest.fixture
def measured(make_report):
    """Makes a run of six prompts, of which each was measured: norm 0.1, or what is given."""

    def make(**changes):
        return with_gradients(make_report(6, seed=1), changes)

    return make


def with_gradients(data, changes):
    row = {
        "n_samples": 16,
        "std": 0.25,
        "grad_norm": 0.1,
        "grad_norm_lo": 0.0,
        "grad_norm_hi": 0.4,
        "bound_score": 2.0,
        "gamma": 3.0,
        "max_length": 5,
    }
    names = [c.name for c in GRADIENTS]
    rows = [dict.fromkeys(names) | row | {"prompt_id": id} | changes for id in data.verdicts["prompt_id"].to_pylist()]
    return dataclasses.replace(data, gradients=pa.Table.from_pylist(rows, schema=arrow_schema(GRADIENTS)))


def test_a_mark_stands_at_the_std_that_the_norm_was_measured_with(measured):
    data = measured()
    marks = gradient_marks(data)
    assert [mark.std for mark in marks] == [0.25] * 6  # not at the std of the verdict, which is of other completions
    assert {std for std in data.verdicts["std"].to_pylist() if std} != {0.25}
    assert [mark.verdict for mark in marks] == data.verdicts["verdict"].to_pylist()
    assert all((mark.norm, mark.low, mark.high, mark.bound) == (0.1, None, 0.4, 2.0) for mark in marks)
    assert gradient_marks(measured(std=0.0)) == []  # no place on a logarithmic axis


@pytest.mark.parametrize("changes", [{"std": 1e-305}, {"grad_norm_hi": 1.7e308}, {"grad_norm": 1e-320}, {"bound_score": 1e301}])
def test_numbers_without_a_place_on_the_axes_are_not_drawn(measured, changes):
    marks = gradient_marks(measured(**changes))
    chart = gradient_chart(marks)
    assert len(marks) == (0 if {"std", "grad_norm_hi"} & set(changes) else 6)
    assert (chart is None) is not marks and "nan" not in str(chart) and "inf" not in str(chart)


def test_prompts_that_the_page_does_not_show_have_no_mark(measured):
    data = measured()
    assert len(gradient_marks(dataclasses.replace(data, verdicts=data.verdicts.slice(0, 2)))) == 2


def test_an_estimate_that_is_not_positive_is_a_line_alone(measured):
    (mark, *_) = gradient_marks(measured(grad_norm=0.0))
    assert mark.norm is None
    chart = gradient_chart([mark])
    assert all_of(chart, "use") == []
    [line] = all_of(chart, "line", "limits")
    assert float(line.get("y1")) == pytest.approx(340) and float(line.get("y2")) < 340  # from the lower edge up to the limit


def test_prompts_that_could_not_be_measured_are_counted(measured):
    data = measured(error="no reward", grad_norm=None, grad_norm_lo=None, grad_norm_hi=None, max_length=None, gamma=None, bound_score=None)
    assert gradient_marks(data) == []
    assert gradient_chart([]) is None
    facts = {fact.label: fact.value for fact in gradient_facts(data)}
    assert facts["not measured"] == "6 prompts"
    assert "has a place on logarithmic axes" in render_html(data)


def test_without_gradients_the_page_does_not_speak_of_them(make_report):
    assert gradient_facts(make_report(3)) == ()
    assert "Measured gradients" not in render_html(make_report(3))


@pytest.mark.parametrize("changes", [{}, {"grad_norm": 0.0}, {"grad_norm_lo": 0.05, "bound_score": None}])
def test_the_chart_is_in_the_page(measured, changes):
    data = measured(**changes)
    assert gradient_chart(gradient_marks(data)) in render_html(data)


def test_estimates_limits_and_bounds_stand_at_their_values(measured):
    marks = [
        dataclasses.replace(mark, std=std, norm=std / 3, low=std / 5, high=std * 2, bound=std * 8)
        for std, mark in zip((0.0012, 0.01, 0.03, 0.2, 0.4, 0.5), gradient_marks(measured()), strict=True)
    ]
    chart = gradient_chart(marks)
    ruler = Ruler(chart, log=True)
    for mark, point, line, bound in zip(
        marks, *(all_of(chart, *kind) for kind in (("use",), ("line", "limits"), ("rect", "bound"))), strict=True
    ):
        assert ruler.value(at(point)) == pytest.approx((mark.std, mark.norm), rel=0.01)
        assert point.get("href") == f"#g-{mark.verdict}"
        assert [ruler.read(ruler.y, float(line.get(y))) for y in ("y1", "y2")] == pytest.approx([mark.low, mark.high], rel=0.01)
        assert ruler.read(ruler.y, at(bound)[1] + 1) == pytest.approx(mark.bound, rel=0.01)
