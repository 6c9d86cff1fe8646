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
    # nothing is written 0 or 100% that is neither
    for share in (1e-9, 1e-4, 0.0004, 0.001, 0.004, 0.0049, 0.9951, 0.996, 0.9994, 0.9999, 1 - 1e-12):
        for text in (percent(share), fine_percent(share), *percent_range(share, share).rstrip("%").split("–")):
            assert text.rstrip("%") not in ("0", "0.0", "100", "100.0"), (share, text)
    assert percent_range(0, 1) == "0–100%" and percent_range(0.004, 0.63) == "0.4–63%"


def test_controls_overrides_and_lone_surrogates_become_visible():
    assert visible("a\x00\x1b[2J\x7f\x9b\u202e\ud800\r\nb\tc") == "a␀␛[2J␡⟦U+009B⟧⟦U+202E⟧\ufffd\nb\tc"


def test_ordinary_text_of_any_script_is_left_alone():
    text = "naïve שלום 你好 👩‍🚀 <script> \u2028 \u200f"
    assert visible(text) == text


def test_sentences_write_no_share_as_all_or_nothing_that_is_neither():
    from flatspot.report.before_after import before_after
    from flatspot.runs.summary import Summary
    from flatspot.verdicts.alarm_words import alarm_sentence
    from flatspot.verdicts.alarms import Alarm

    assert ">99% of the completions" in alarm_sentence(Alarm("reward-failures", 0.997))
    shares = {
        name: {"mean": share, "lo": 0.0, "hi": 0.998} for name, share in (("vanishing", 0.004), ("learnable", 0.996), ("solved", 0.0))
    }
    summary = {"n_prompts": 3, "fractions": shares, "reward": {"mean": 0.0001, "std": {"mean": None}}}
    text = before_after(Summary.from_json(summary), Summary.from_json(summary), [])
    assert "<1% [0–99.8%]" in text and ">99% [0–99.8%]" in text and "0.0001" in text and "none" in text
