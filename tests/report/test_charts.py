"""The charts of a run's report, read back with a ruler and compared with the numbers they were drawn from."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest

from flatspot.report.charts import composition, corner_reach, forecast, scatter
from flatspot.report.formats import percent
from flatspot.report.gain_chart import gain_chart
from flatspot.report.marks import DENSE, MAX_MARKS, place_marks
from flatspot.runs.summary import Summary

sys.path.insert(0, str(Path(__file__).parent))
from ruler import Ruler, all_of, area_of, at, parse, words


def marks_of(data):
    columns = (data.verdicts[name].to_pylist() for name in ("verdict", "mean", "std"))
    return place_marks(*columns)


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_every_mark_stands_at_its_mean_and_std(make_report, kind):
    data = make_report(60, kind=kind)
    marks = marks_of(data)
    chart = scatter(marks, (0.0, 1.0), completions=8)
    drawn, ruler = all_of(chart, "use"), Ruler(chart)
    assert [int(node.get("data-mark")) for node in drawn] == list(range(len(marks.values)))
    for node, mark in zip(drawn, marks.values, strict=True):
        assert ruler.value(at(node)) == pytest.approx((mark.mean, mark.value), abs=1e-3)
        assert node.get("href") == f"#g-{mark.verdict}" and node.get("class") == f"v-{mark.verdict}"
        assert mark.verdict in node[0].text and f"{mark.count:,} prompt" in node[0].text
    assert sum(mark.count for mark in marks.values) == 60 - marks.missing


def test_marks_of_more_prompts_are_larger_and_drawn_first(make_report):
    marks = marks_of(make_report(200))
    areas = [area_of(node) for node in all_of(scatter(marks, None), "use")]
    assert areas == sorted(areas, reverse=True) and areas[-1] == pytest.approx(60, rel=0.01)
    roots = [math.sqrt(mark.count) for mark in marks.values]
    for (a, r), (b, s) in itertools.pairwise(zip(areas, roots, strict=True)):
        expected = (areas[0] - areas[-1]) * (r - s) / (roots[0] - roots[-1])
        assert a - b == pytest.approx(expected, abs=1.5)  # coordinates have two decimals


def test_the_arc_is_the_largest_std_that_so_many_completions_can_have(make_report):
    data = make_report(20)
    chart = scatter(marks_of(data), (0.0, 1.0), completions=8)
    [arc] = all_of(chart, "path", "envelope")
    ruler = Ruler(chart)
    for pair in arc.get("d")[1:].split("L")[::10]:
        mean, std = ruler.value(tuple(map(float, pair.split())))
        assert std == pytest.approx(math.sqrt(max(0, mean * (1 - mean)) * 8 / 7), abs=2e-2)
    assert "envelope" not in scatter(marks_of(data), None)  # no range, no largest std


def test_the_corner_ends_where_the_reach_is_the_threshold(make_report):
    data = make_report(20)
    chart = scatter(marks_of(data), (0.0, 1.0), reach=4.0, completions=8)
    [corner] = all_of(chart, "path", "corner")
    ruler = Ruler(chart)
    places = [ruler.value(tuple(map(float, pair.split()))) for pair in corner.get("d")[1:-1].split("L")]
    assert places == [pytest.approx(place, abs=2e-3) for place in ((0.0, 0.0), (0.0, 0.25), (1.0, 0.0))]
    assert "vanishing gradient" in words(chart)


def test_graded_rewards_have_no_corner_for_its_rule_decides_nothing_there():
    assert corner_reach("binary", 4.0) == 4.0
    assert [corner_reach(model, 4.0) for model in ("few-valued", "continuous", "zero-inflated", "mixed", "binned", "none")] == [None] * 6


def gains_of(data, **changes):
    marks = place_marks(*(data.verdicts[name].to_pylist() for name in ("verdict", "mean", "best_of_k")))
    return marks, gain_chart(marks, **({"reward_range": (0.0, 1.0), "group_size": 8, "threshold": 0.1} | changes))


def places_of(chart, node):
    ruler = Ruler(chart)
    return [ruler.value(tuple(map(float, pair.split()))) for pair in node.get("d")[1:].removesuffix("z").split("L")]


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_every_mark_of_the_second_picture_stands_at_its_mean_and_best_of_a_group(make_report, kind):
    marks, chart = gains_of(make_report(60, kind=kind))
    drawn, ruler = all_of(chart, "use"), Ruler(chart)
    assert [int(node.get("data-mark")) for node in drawn] == list(range(len(marks.values)))
    for node, mark in zip(drawn, marks.values, strict=True):
        assert ruler.value(at(node)) == pytest.approx((mark.mean, mark.value), abs=2e-3)
        assert node.get("href") == f"#g-{mark.verdict}" and f"best of 8  {mark.value:.3f}" in node[0].text
    assert sum(mark.count for mark in marks.values) == 60 - marks.missing


def test_the_diagonal_is_where_the_best_earns_the_mean_and_the_strip_as_high_as_the_threshold(make_report):
    _, chart = gains_of(make_report(20), threshold=0.1)
    [diagonal], [strip], [edge] = (all_of(chart, "path", style) for style in ("diagonal", "corner", "envelope"))
    assert all(best == pytest.approx(mean, abs=3e-3) for mean, best in places_of(chart, diagonal))
    assert all(best - mean == pytest.approx(0.1, abs=3e-3) for mean, best in places_of(chart, edge))
    assert [best - mean for mean, best in places_of(chart, strip)] == pytest.approx([0, 0, 0.1, 0.1], abs=3e-3)
    assert {"no signal: gain under 0.100", "nothing to gain", "top of the range"} <= set(words(chart))


def test_a_line_is_at_the_top_of_a_known_range_only(make_report):
    _, chart = gains_of(make_report(20), reward_range=(0.0, 1.0))
    [line] = all_of(chart, "line", "envelope")
    assert Ruler(chart).value(at(line))[1] == pytest.approx(1.0, abs=2e-3)
    _, chart = gains_of(make_report(20), reward_range=None)
    assert all_of(chart, "line", "envelope") == [] and "top of the range" not in words(chart)


def test_of_binary_rewards_the_two_ends_are_tinted_that_are_rarer_than_epsilon():
    marks = place_marks(["vanishing", "learnable", "solved"], [0.0, 2.0, 4.0], [0.3, 3.9, 4.0])
    chart = gain_chart(marks, (0.0, 4.0), 8, 0.1, 0.05)
    left, right = (places_of(chart, node) for node in all_of(chart, "path", "corner"))
    assert max(mean for mean, _ in left) == pytest.approx(0.2, abs=2e-2) and min(mean for mean, _ in right) == pytest.approx(3.8, abs=2e-2)
    inside = [any(min(x for x, _ in band) <= mark.mean <= max(x for x, _ in band) for band in (left, right)) for mark in marks.values]
    assert inside == [mark.verdict != "learnable" for mark in marks.values]
    assert "no signal: tinted" in words(chart) and all_of(chart, "path", "envelope") == []


def test_where_the_gain_decides_nothing_there_is_no_strip(make_report):
    _, chart = gains_of(make_report(20), threshold=0.0)
    assert all_of(chart, "path", "corner") == [] and "no signal" not in "".join(words(chart))
    assert len(all_of(chart, "path", "diagonal")) == 1 and "nothing to gain" in words(chart)


@pytest.mark.parametrize(("means", "bests"), [([0.0], [0.0]), ([3e5, 3e5], [3e5, 3e5 + 1e-9]), ([-1e300, 1e300], [0.0, 1e300])])
def test_degenerate_and_huge_gains_are_drawn_at_finite_places(means, bests):
    chart = gain_chart(place_marks(["strange"] * len(means), means, bests), None, 8, 0.05)
    assert "nan" not in chart and "inf" not in chart
    assert len(all_of(chart, "use")) == len(means)


def test_many_prompts_become_few_small_marks(make_report):
    data = make_report(3 * MAX_MARKS, kind="real", answers=2)
    marks = marks_of(data)
    assert DENSE < len(marks.values) <= MAX_MARKS
    chart = scatter(marks, None)
    assert 'class="dense"' in chart and len(all_of(chart, "use")) == len(marks.values)


@pytest.mark.parametrize(("means", "stds"), [([0.0], [0.0]), ([3e5, 3e5], [0.0, 1e-9]), ([-1e300, 1e300], [0.0, 1e300])])
def test_degenerate_and_huge_values_are_drawn_at_finite_places(means, stds):
    chart = scatter(place_marks(["strange"] * len(means), means, stds), None)
    assert "nan" not in chart and "inf" not in chart
    assert [node.get("href") for node in all_of(chart, "use")] == ["#g-unscored"] * len(means)


def test_bars_are_as_long_as_the_shares_and_whiskers_end_at_their_limits(make_report):
    summary = make_report(60).summary
    chart = composition(summary)
    fractions = summary["fractions"]
    lengths = {node.get("class").split("v-")[1]: float(node.get("width")[:-1]) for node in all_of(chart, "rect", "bar")}
    unit = lengths["learnable"] / fractions["learnable"]["mean"]
    for name, row in fractions.items():
        assert lengths[name] == pytest.approx(unit * row["mean"], abs=0.02)
    whiskers = [(float(node.get("x1")[:-1]), float(node.get("x2")[:-1])) for node in all_of(chart, "line", "whisker")]
    assert whiskers == [pytest.approx((unit * row["lo"], unit * row["hi"]), abs=0.02) for row in fractions.values()]
    assert words(chart, "value") == [percent(row["mean"]) for row in fractions.values()]
    assert words(chart, "label") == [f"{name} · {n}" for name, n in summary.counts.items()]


def test_a_summary_of_nothing_has_bars_of_no_length():
    assert [node.get("width") for node in all_of(composition(Summary()), "rect")] == ["0%"] * 5


def test_the_forecast_is_drawn_at_its_shares_with_its_limits(make_report):
    summary = make_report(20).summary
    chart = forecast(summary)
    ruler, rows = Ruler(chart), summary["forecast"]
    dots = all_of(chart, "circle")
    assert [ruler.value(at(node))[1] for node in dots] == pytest.approx([row["informative"] for row in rows.values()], abs=5e-3)
    assert [float(node.get("r")) for node in dots] == [5, 7.5, 5, 5]  # the planned size is 8
    [limits] = all_of(chart, "path", "band")
    heights = [ruler.read(ruler.y, float(pair.split()[1])) for pair in limits.get("d")[1:-1].split("L")]
    assert heights == pytest.approx([row["hi"] for row in rows.values()] + [row["lo"] for row in rows.values()][::-1], abs=5e-3)
    assert "groups of 8: 42%" in parse(chart)[0].text
    assert forecast(Summary()) is None


def test_no_label_of_the_forecast_lies_on_the_name_of_the_axis(make_report):
    for shares in ((0.2, 0.5, 0.9, 0.95), (0.98, 0.99, 1.0, 1.0)):
        rows = {str(k): {"informative": share, "lo": share, "hi": share} for k, share in zip((4, 8, 16, 32), shares, strict=True)}
        chart = forecast(Summary.from_json(make_report(3).summary.to_json() | {"forecast": rows}))
        heights = [at(node)[1] for node in all_of(chart, "text", "value")]
        assert len(heights) == 4 and min(heights) > 0
