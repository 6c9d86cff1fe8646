"""What drawing tells of its progress: completions that are whole count before their part is on disk."""

from __future__ import annotations

import numpy as np
import pytest

import flatspot
from flatspot.core.protocols import tell_completed
from flatspot.core.records import Completion
from flatspot.rollouts.progress import Meter
from flatspot.rollouts.rounds import FixedCompletions, Round


class Slow:
    """One call draws all rows, token by token; halfway it draws a batch again, as an engine out of memory does."""

    name, rows_per_call = "slow", 1000

    def sample(self, requests, sampling, on_tokens=None):
        n = sum(len(request.seeds) for request in requests)
        for _ in range(n // 2):
            on_tokens(3)
            tell_completed(on_tokens, 1)
        for _ in range(n):
            on_tokens(3)
            tell_completed(on_tokens, 1)
        return [[Completion("4", 1, truncated=False) for _ in request.seeds] for request in requests]

    def describe(self):
        return {"engine": self.name}


def test_completions_of_the_running_part_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("flatspot.rollouts.progress._EVERY_S", 0.0)
    seen = []
    prompts = [{"prompt": f"{i} + 2 =", "reference": "4"} for i in range(4)]
    flatspot.diagnose(
        prompts, Slow(), "exact_match", max_completions=4, fixed_completions=True, out=tmp_path / "run", on_progress=seen.append
    )
    done = [progress.rows_done for progress in seen]
    assert done == sorted(done)
    assert set(done) == set(range(17))  # each of 16 completions once, those drawn again not twice
    assert seen[5].tokens == 18
    left = [progress.seconds_left for progress in seen]
    assert left[0] is None and None not in left[1:]  # once a twentieth of the first part is whole, here one row, there is a rate
    assert (seen[-1].rows_done, seen[-1].rows_now) == (16, 16)


def test_parts_that_run_at_the_same_time_count_once():
    seen = []
    meter = Meter(FixedCompletions(100, 8), 100, seen.append)
    meter.round_begins(Round(np.arange(100), np.zeros(100, int), 8, True))
    meter.part_begins(400)
    meter.part_begins(400)
    meter.completed(10)
    meter(1)
    meter.completed(490)
    meter.part_done(50, 400, new=True)
    meter.completed(500)  # of a batch that was drawn again
    meter.part_done(50, 400, new=True)
    assert [(one.rows_done, one.rows_now, one.prompts_done) for one in seen] == [(10, 0, 0), (500, 500, 50), (800, 800, 100)]
    assert seen[0].seconds_left is None and seen[1].seconds_left == pytest.approx(seen[1].seconds / 500 * 300)


def test_a_plain_function_counts_tokens_and_is_told_of_no_completions():
    tokens = []
    tell_completed(None, 3)
    tell_completed(tokens.append, 3)
    assert tokens == []
