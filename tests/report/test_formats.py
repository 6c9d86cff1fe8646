from __future__ import annotations

import math

import pytest

from flatspot.report.formats import decimal, fine_percent, number, percent, percent_range, visible


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.5", True, 10**400])
def test_what_is_no_number_is_a_dash(value):
    assert number(value) is None
    assert decimal(value) == percent(value) == fine_percent(value) == "–"


def test_a_share_that_is_not_nothing_is_never_written_as_nothing():
    assert percent(1e-9) == "<1%"
    assert percent(1 - 1e-9) == ">99%"
    assert fine_percent(0.012) == "1.2%"
    assert percent_range(0.0, 0.004) == "0–0.4%"


def test_controls_overrides_and_lone_surrogates_become_visible():
    assert visible("a\x00\x1b[2J\x7f\x9b\u202e\ud800\r\nb\tc") == "a␀␛[2J␡⟦U+009B⟧⟦U+202E⟧\ufffd\nb\tc"


def test_ordinary_text_of_any_script_is_left_alone():
    text = "naïve שלום 你好 👩‍🚀 <script> \u2028 \u200f"
    assert visible(text) == text
