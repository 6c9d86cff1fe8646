from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flatspot.report.run.terminal import render_terminal
from flatspot.runs.summary import Summary


@pytest.mark.parametrize("width", [10, 60, 80, 300])
def test_no_line_but_a_command_is_wider_than_the_terminal(make_report, width):
    for line in render_terminal(make_report(60).summary, width=width).splitlines():
        assert len(line) <= max(40, min(width, 100)) or line.startswith("     $ "), line


def test_it_says_what_a_reader_needs(make_report):
    text = " ".join(render_terminal(make_report(60).summary).split())
    for words in (
        "WARM UP BEFORE RL",
        "Rule: ",
        "prompts share [95% limits for prompts like these]",
        "▼ vanishing 24",
        "[34–47%]",
        "mean 0.31 in [0, 1]",
        "8: 42% [35–49%]",
        "480 completions (8.0 per prompt)",
        "predicted error 2.8%",
        "TimeoutError",
        "Caveats",
        "$ flatspot warmup",
    ):
        assert words in text


def test_the_demos_result_fits_a_screen():
    intervals = {"learnable": (22, 0.27, 0.58), "vanishing": (21, 0.23, 0.53), "solved": (16, 0.15, 0.40)}
    summary = {
        "verdict": "warm-up",
        "rule": "vanishing prompts: 38% > 20%",
        "reason": "RL gets almost no gradient from 38% of the prompts, though their rewards are far from the best. A short "
        "SFT phase on a few of them fixes this; more RL will not.",
        "counts": {name: n for name, (n, _, _) in intervals.items()},
        "fractions": {name: {"mean": n / 59, "lo": lo, "hi": hi} for name, (n, lo, hi) in intervals.items()},
        "reward": {"mean": 0.45, "range": [0, 1], "std": {"p10": 0, "p50": 0.25, "mean": 0.19, "share_below_0.05": 0.47}},
        "forecast": {str(k): {"informative": k / 50, "lo": k / 60, "hi": k / 40} for k in (4, 8, 16, 32)},
        "health": {"distinct_share": 0.51, "truncated_share": 0.049, "error_share": 0},
        "generations": {"total": 944, "per_prompt": 16.0, "tokens": 4820},
        "predicted_error": 0.037,
        "caveats": [
            "If prompts crowd just on both sides of a limit, up to 17% of the verdicts are wrong; a smaller --target-error draws more."
        ],
    }
    lines = render_terminal(Summary.from_json(summary)).splitlines()
    assert len(lines) <= 20, "one more names report.html"
    for words in ("Rule: ", "[23–53%]", " 32: 64% [53–80%]", "predicted error", "Next 1. ", "$ flatspot plan"):
        assert any(words in line for line in lines), words


def test_measured_gradients_are_a_line_where_there_are_any(make_report):
    gradients = {
        "n_prompts": 12,
        "n_failed": 1,
        "norm": {"p50": 0.8, "max": 2.5},
        "std_and_norm": {"rank_correlation": 0.83},
        "bound_over_norm": {"score": 4.1},
    }
    text = " ".join(render_terminal(make_report(9, gradients=gradients).summary).split())
    assert "Gradient 12 prompts measured, 1 not · norm p50 0.80, max 2.50 · rank correlation with std 0.83" in text
    assert "score bound 4.1 times the norm" in text
    assert "Gradient" not in render_terminal(make_report(9).summary)
    assert "0 prompts measured" in render_terminal(make_report(9, gradients={"n_prompts": 0, "norm": {"p50": None}}).summary)


def test_each_reward_has_its_count_of_vanishing_prompts(make_report):
    parts = {"accuracy": {"mean": 0.0, "std_mean": 0.0, "counts": {"vanishing": 40}}, "format": {"mean": 0.5, "counts": {"learnable": 40}}}
    text = " ".join(render_terminal(make_report(40, components=parts).summary).split())
    assert "accuracy mean 0.00, std 0.00, vanishing on 40 of 40" in text
    assert "format mean 0.50, std –, vanishing on 0 of 40" in text


@pytest.mark.parametrize("advantage", ["centered", "normalized"])
def test_the_kind_of_advantages_is_named_where_verdicts_depend_on_it(make_report, advantage):
    for model, named in (("binary", False), ("continuous", True), ("few-valued", True), ("none", False)):
        text = " ".join(render_terminal(make_report(9, advantage=advantage, reward_model=model).summary).split())
        assert (f"judged for {advantage} advantages" in text) == named


def test_it_is_ascii_where_the_terminal_is(make_report):
    assert render_terminal(make_report(60, reason="μ ≤ σ – 你").summary, encoding="ANSI_X3.4-1968").isascii()


def test_color_changes_no_letter_of_the_words(make_report):
    summary = make_report(60).summary
    plain, colored = render_terminal(summary), render_terminal(summary, color=True)
    strip = re.compile("\x1b\\[[0-9;]*m")
    assert "\x1b" not in plain and "\x1b" in colored
    assert re.sub("[█░▓▒·]", "", strip.sub("", colored)) == re.sub("[█░▓▒·]", "", plain)


def test_hostile_text_cannot_drive_the_terminal(make_report):
    health = {"errors": [{"error": "\x1b[2J\x1b]0;owned\x07" + "x" * 10_000, "count": 1}]}
    text = render_terminal(
        make_report(3, reason="\x1b[31m\u202ered", caveats=["\r\x00 gone"], health=health, components={"\x1b[1m": {}, "b": {}}).summary
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


@pytest.mark.parametrize(
    "summary", [{}, {"counts": {"learnable": 1}}, {"counts": {"solved": 10**9, "unscored": 1}, "fractions": {"solved": {"mean": 1}}}]
)
def test_a_bare_summary_is_enough(summary):
    assert render_terminal(Summary.from_json(summary))


def test_it_imports_nothing_heavy():
    code = "import sys, flatspot.report.run.terminal as t; from flatspot.runs.summary import *"
    code += "; t.render_terminal(Summary(counts=Counts(solved=1))); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for name in ("jinja2", "pyarrow", "numpy", "rich", "torch"):
        assert f"'{name}'" not in loaded
