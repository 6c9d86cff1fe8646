"""Prompts that an engine cannot draw: the others are judged without them, and nothing is said against the reward."""

from __future__ import annotations

import pytest

import flatspot
from flatspot.engines.prompts import no_completion
from flatspot.engines.scripted import ScriptedEngine
from flatspot.report.run.next_steps import next_steps

N = 10
ANSWERS = {f"p{i}": {"4": 0.5, "5": 0.5} for i in range(N)}
ROWS = [{"id": text, "prompt": text, "reference": "4"} for text in ANSWERS]


class Narrow(ScriptedEngine):
    """Into whose context the first prompts do not fit."""

    too_long = 0

    def sample(self, requests, sampling, on_tokens=None):
        drawn = super().sample(requests, sampling, on_tokens)
        long = {f"p{i}" for i in range(self.too_long)}
        return [
            [no_completion("the prompt does not fit")] * len(rows) if request.text in long else rows
            for request, rows in zip(requests, drawn, strict=True)
        ]


def judged(place, too_long, rows=ROWS, reward="exact_match"):
    engine = Narrow(ANSWERS | {"empty": {"": 1.0}})
    engine.too_long = too_long
    return flatspot.diagnose(rows, engine, reward, out=place, max_completions=16, fixed_completions=True)


def test_the_others_are_judged_as_they_would_be_alone(tmp_path):
    run, alone = judged(tmp_path / "run", 2), judged(tmp_path / "alone", 0, ROWS[2:])
    assert run.summary.verdict == alone.summary.verdict == "proceed"
    assert run.summary.counts.unscored == 2 and run.summary.health.error_share == pytest.approx(0.2)
    assert run.verdicts["verdict"].to_pylist()[2:] == alone.verdicts["verdict"].to_pylist()


def test_where_most_do_not_fit_that_is_what_is_to_be_mended(tmp_path):
    summary = judged(tmp_path / "run", 6).summary
    assert summary.verdict == "fix-sampling" and summary.reason.startswith("60% of the completions could not be drawn")
    text = " ".join(step.text for step in next_steps(summary))
    assert "shorten them" in text and "Let completions end" not in text and "reward" not in text
    assert judged(tmp_path / "all", N).summary.verdict == "fix-sampling"


def test_a_reward_that_fails_is_still_to_be_fixed_also_on_empty_answers(tmp_path):
    def picky(completions, **_):
        return [1.0 / len(text) for text in completions]

    rows = [{"prompt": "empty", "id": "e"}, *ROWS[1:]]
    summary = judged(tmp_path / "run", 0, rows, picky).summary
    assert summary.counts.unscored == 1 and summary.verdict == "fix-reward" and summary.reason.startswith("10% of the completions")
