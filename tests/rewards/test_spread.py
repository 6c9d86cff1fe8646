"""Rewards that are slow: scored elsewhere, with the values, the errors and the findings of this process."""

from __future__ import annotations

import pickle
import sys
import time

import pytest

from flatspot.core.errors import EngineError, RewardLoadError
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import load_reward

SLOW = """
import time

def length(completions, **_):
    time.sleep(0.003 * len(completions))
    return [float(len(c)) for c in completions]

def fast(completions, **_):
    return [float(len(c)) for c in completions]

def fragile(completions, **_):
    time.sleep(0.003 * len(completions))
    if "bad" in completions:
        raise ValueError("a bad one")
    return [float(len(c)) for c in completions]

def hangs(completions, **_):
    time.sleep(30 if "bad" in completions else 0.003 * len(completions))
    return [float(len(c)) for c in completions]

def rank(prompts, completions, **_):
    time.sleep(0.003 * len(completions))
    groups = {p: sorted(c for q, c in zip(prompts, completions) if p == q) for p in prompts}
    return [groups[p].index(c) / len(groups[p]) for p, c in zip(prompts, completions)]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "slow_rewards.py").write_text(SLOW)
    return tmp_path / "slow_rewards.py"


class Workers:
    """Loads what it is told as another process does, and counts the rows of each call."""

    def __init__(self):
        self.loaded, self.calls = {}, []

    def __call__(self, load, calls):
        if load not in self.loaded:
            self.loaded[load] = pickle.loads(pickle.dumps(load))()
        self.calls += [len(prompts) for prompts, _ in calls]
        return [pickle.loads(pickle.dumps(self.loaded[load](*call))) for call in calls]


def rows(n, bad=()):
    prompts = [Prompt(f"p{i // 4}", f"question {i // 4}") for i in range(n)]
    return prompts, [Completion("bad" if i in bad else "x" * (1 + i % 7), 1, False) for i in range(n)]


def scored(spec, n, workers, bad=(), group_size=None, **settings):
    with load_reward(spec, group_size=group_size, **settings) as reward:
        if workers is not None:
            reward.use_workers(workers)
        return reward.score(*rows(n, bad)), reward.notes, reward.compares


@pytest.mark.parametrize(("name", "bad"), [("length", ()), ("fragile", (200,))])
def test_a_slow_reward_is_scored_elsewhere_with_the_same_scores(file, name, bad):
    workers = Workers()
    elsewhere, notes, _ = scored(f"{file}:{name}", 300, workers, bad)
    here, _, _ = scored(f"{file}:{name}", 300, None, bad)
    assert workers.calls == [64, 64, 44]  # the first 128 rows measured how long one takes
    assert [score.reward for score in elsewhere] == [score.reward for score in here] and notes == []
    assert [score.error for score in elsewhere] == [score.error for score in here]
    assert [i for i, score in enumerate(elsewhere) if score.error] == list(bad)


def test_a_slow_reward_is_found_in_calls_of_few_rows_as_well(file):
    workers = Workers()
    with load_reward(f"{file}:length") as reward:
        reward.use_workers(workers)
        for _ in range(5):
            reward.score(*rows(16))
        assert workers.calls == []  # the first call is not measured, the next four are together
        reward.score(*rows(16))
    assert workers.calls == [16]


def test_a_fast_reward_stays_here(file):
    workers = Workers()
    assert scored(f"{file}:fast", 400, workers)[0] == scored(f"{file}:fast", 400, None)[0]
    assert scored("exact_match", 400, workers) and workers.calls == []


def test_rows_that_hang_elsewhere_are_errors_and_counted(file):
    workers = Workers()
    scores, notes, _ = scored(f"{file}:hangs", 256, workers, bad=(130,), timeout_s=1.0)
    assert [i for i, score in enumerate(scores) if score.error] == [130]
    assert workers.calls == [64, 64] and any("1 completion is unscored" in note for note in notes)


def test_a_reward_that_compares_completions_is_found_elsewhere_too_and_called_with_groups_here(file):
    workers = Workers()
    scores, notes, compares = scored(f"{file}:rank", 256, workers, group_size=4)
    assert compares and [score.reward for score in scores] == [score.reward for score in scored(f"{file}:rank", 256, None, group_size=4)[0]]
    assert any("one group of 4" in note for note in notes)
    with pytest.raises(RewardLoadError, match="another value when other completions are in the same call"):
        scored(f"{file}:rank", 256, Workers())


def test_a_reward_whose_first_values_are_equal_is_found_to_compare_by_a_call_elsewhere(file):
    workers = Workers()
    with load_reward(f"{file}:rank", group_size=4) as reward:
        reward.use_workers(workers)
        prompts, completions = rows(256)
        reward.score(prompts[:128], [Completion("x", 1, False)] * 128)  # all equal: they tell nothing
        scores = reward.score(prompts, completions)
        assert workers.calls == [64, 64, 64, 64] and reward.compares
    assert [score.reward for score in scores] == [score.reward for score in scored(f"{file}:rank", 256, None, group_size=4)[0]]


@pytest.mark.parametrize("kind", ["load", "send"])
def test_what_workers_cannot_load_or_be_sent_is_scored_here_with_a_note(file, kind):
    def fails(load, calls):
        if kind == "send":
            raise EngineError("workers cannot be sent it: cannot pickle a lock")
        file.write_text(SLOW + "# changed meanwhile\n")
        return Workers()(load, calls)

    scores, notes, _ = scored(f"{file}:length", 300, fails)
    assert [score.reward for score in scores] == [float(1 + i % 7) for i in range(300)]
    assert any("scored by the process that drew the rows, not by its workers" in note for note in notes)
    assert any(("is another file on a worker" if kind == "load" else "a lock") in note for note in notes)


def test_a_function_goes_as_its_code(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    workers = Workers()
    scores, notes, _ = scored(only_here.length, 300, workers)
    assert workers.calls == [64, 64, 44] and notes == [] and scores[200].reward == float(1 + 200 % 7)
    sys.modules.pop("only_here")


def test_workers_that_are_no_longer_there_are_not_asked(file):
    workers = Workers()
    with load_reward(f"{file}:length") as reward:
        reward.use_workers(workers)
        reward.use_workers(None)
        began = time.monotonic()
        reward.score(*rows(192))
    assert workers.calls == [] and time.monotonic() - began > 0.5
