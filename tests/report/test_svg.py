"""The parts of a chart, against what a ruler, a parser and arithmetic say."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatspot.report.svg import SHAPES, Plane, Scale, axis_labels, band, chart, dot, outline, sprite, stretch, symbol, text, tick_labels

sys.path.insert(0, str(Path(__file__).parent))
from ruler import all_of, as_number, parse, words

HOSTILE = "</title><script>window.hit=1</script>\"'&"
ends = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=200, deadline=None)
@given(ends, st.integers(2, 8))
def test_ticks_are_round_even_inside_and_about_as_many_as_asked_for(limits, count):
    low, high = limits
    found = Scale(low, high).ticks(count)
    span = high - low
    assert all(low - 1e-6 * span <= value <= high + 1e-6 * span for value in found)
    assert count / 3 <= len(found) <= 2 * count + 1
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) - min(steps) <= 1e-9 * max(map(abs, limits)) if steps else len(found) == 1
    for size in steps[:1] if span > 1e-3 * max(map(abs, limits)) else []:  # nearer together, rounding blurs the step
        assert min(abs(size / 10 ** math.floor(math.log10(size) + 1e-4) - m) for m in (1, 2, 5, 10)) < 1e-3


@settings(max_examples=200, deadline=None)
@given(ends, st.integers(2, 8))
def test_labels_tell_ticks_apart_and_name_their_values(limits, count):
    scale = Scale(*limits)
    pairs = axis_labels(scale, count)
    values, labels = zip(*pairs, strict=True)
    assert len(set(labels)) == len(labels)
    step = (values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else abs(values[0]) or 1.0
    assert all(abs(as_number(label) - value) <= 0.01 * step + 1e-5 * abs(value) for value, label in pairs)


def test_no_label_is_minus_zero():
    assert tick_labels([-0.1, -0.0, 0.1]) == ["−0.1", "0.0", "0.1"]


sizes = st.floats(-322, 308).map(lambda power: 10.0**power)


@settings(max_examples=300, deadline=None)
@given(sizes, st.floats(1.001, 1e12), st.integers(2, 8))
def test_an_axis_of_any_size_has_ticks(low, ratio, count):
    high = low * ratio if math.isfinite(low * ratio) else sys.float_info.max
    for scale in [Scale(low, high), Scale(-high, low), Scale(low, high, log=True)] if high > low else []:
        found = scale.ticks(count)
        assert found and all(math.isfinite(value) for value in found)
        assert all(scale.low - 1e-6 * (high - low) <= value <= high + 1e-6 * (high - low) for value in found)


@pytest.mark.parametrize(
    ("low", "high", "value", "share"),
    [(0.0, 1.0, 0.25, 0.25), (-1e308, 1e308, 0.0, 0.5), (2.0, 2.0, 2.0, 0.5), (0.0, 5e-324, 0.0, 0.5)],
)
def test_places_on_an_axis_are_finite_whatever_its_limits(low, high, value, share):
    assert Scale(low, high).share(value) == pytest.approx(share)
    assert Scale(low, high).ticks(5)


@settings(max_examples=100, deadline=None)
@given(st.floats(-9, 8), st.floats(0.1, 12), st.integers(3, 8))
def test_ticks_of_a_logarithmic_axis_are_round_and_inside(exponent, decades, count):
    low, high = 10**exponent, 10 ** (exponent + decades)
    found = Scale(low, high, log=True).ticks(count)
    assert all(low <= value <= high for value in found) and found == sorted(found) and len(found) <= count + 1 + 6
    if any(low <= m * 10.0**k <= high for k in range(-10, 22) for m in (1, 2, 5)):
        assert {f"{value:e}"[0] for value in found} <= {"1", "2", "5"}


def test_a_chart_says_what_it_shows_and_every_text_is_escaped():
    body = [text((50, 10), HOSTILE), dot((1, 2), 3, "dot", HOSTILE), symbol((1, 2), 10, HOSTILE, HOSTILE, number=3)]
    drawn = chart(body, title=HOSTILE, height=100, left=40)
    root = parse(drawn)
    assert "<script" not in drawn
    assert root.get("role") == "img" and root[0].tag.endswith("title") and root[0].text == HOSTILE
    assert words(drawn) == [HOSTILE]
    [mark] = all_of(drawn, "use")
    assert mark[0].text == HOSTILE and mark.get("href") == "#g-unscored" and mark.get("data-mark") == "3"


def test_every_shape_is_defined():
    defined = {node.get("id") for node in parse(f"<svg >{sprite()}</svg>").iter() if node.get("id")}
    assert defined == {f"g-{name}" for name in SHAPES}


def test_a_band_goes_there_above_and_back_below_and_leaves_out_what_has_no_limits():
    plane = Plane(Scale(0, 4), Scale(0, 10), 100)
    drawn = stretch(plane, [band(plane, [(0, 1, 3), (1, None, 9), (2, 2, None), (4, 5, 10)], "band")])
    [path] = all_of(drawn, "path")
    assert path.get("d") == "M0 70L100 0L100 50L0 90z"
    assert outline([], "trend") == ""
