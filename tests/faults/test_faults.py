"""Every seeded fault is named, and healthy runs raise nothing. The real runs are slow; the streams are not."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from streams import false_alarms

from flatspot.training.watch.live import Batch, Live
from flatspot.verdicts.alarm_words import alarm_sentence
from flatspot.verdicts.alarms import CAUSES, Trainer, find_alarms
from runs import FAULTS, HEALTHY, train


def test_every_cause_has_a_seeded_fault_and_a_sentence():
    assert {case.cause for case in FAULTS} == set(CAUSES)


def test_healthy_streams_raise_few_false_alarms():
    wrong, runs, causes = false_alarms(30)
    assert wrong / runs <= 0.05, causes


def causes_of(rewards, *, steps=20, size=4, trainer=None):
    live = Live(("reward",))
    for step in range(steps):
        prompt = np.repeat(np.arange(8), size)
        values = np.asarray([rewards(step, i) for i in range(len(prompt))], float)
        live.absorb(Batch(step, prompt, values[None], np.arange(len(prompt), dtype=float), np.full(len(prompt), np.nan), 0, False), size)
    found = find_alarms(live.window(), trainer or Trainer())
    assert all(alarm_sentence(alarm) for alarm in found)
    return [alarm.cause for alarm in found]


def test_a_set_of_few_informative_groups_is_no_alarm_until_a_tenth_is_ruled_out():
    assert causes_of(lambda step, i: 0.0, steps=6) == []
    assert causes_of(lambda step, i: 0.0, steps=7) == ["all-low"]
    assert causes_of(lambda step, i: float(i == 0)) == []  # one group in eight


def test_flat_updates_of_a_run_with_few_informative_groups_are_no_blocked_gradient():
    zeros = Trainer(grad_norm=[0.5] + [0.0] * 3)
    assert (
        causes_of(lambda step, i: float(i % 12 == 0), trainer=zeros) == []
    )  # 3 of 8 groups informative: 3 flat updates of one group are chance
    assert causes_of(lambda step, i: float(i % 4 == 0), trainer=zeros) == ["blocked-gradient"]  # all of them are
    assert causes_of(lambda step, i: float(i % 12 == 0), trainer=Trainer(grad_norm=[0.0] * 16)) == ["blocked-gradient"]


def test_rewards_below_zero_have_their_own_bottom_and_top():
    assert causes_of(lambda step, i: -1.0) == ["all-low"]
    assert causes_of(lambda step, i: 1.0) == ["all-high"]
    assert causes_of(lambda step, i: 3.0) == ["all-high"]


@pytest.mark.parametrize(
    ("trainer", "cause"),
    [
        (Trainer(loss=[0.0, float("nan")]), ["nan-loss"]),
        (Trainer(grad_norm=[1.0, float("inf")]), ["nan-loss"]),
        (Trainer(learning_rate=[1e-6, 0.0, 0.0, 0.0]), ["zero-learning-rate"]),
        (Trainer(learning_rate=[0.0, 0.0, 0.0], ending=True), []),
        (Trainer(learning_rate=[0.0, 0.0, 1e-7]), []),  # a warm-up starts at 0
        (Trainer(clipped=[0.0, 0.9, 0.9, 0.9]), ["everything-clipped"]),
        (Trainer(clipped=[0.0, 0.3, 0.2]), []),
    ],
)
def test_what_the_trainer_logs(trainer, cause):
    assert [alarm.cause for alarm in find_alarms(None, trainer)] == cause


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_seeded_faults_in_real_runs_are_named(tmp_path):
    first = {}
    for i, case in enumerate(FAULTS):
        _, callback, _ = train(case, tmp_path / str(i), seed=1)
        first[case.name] = (callback.history[0]["cause"] if callback.history else "none", case.cause)
    wrong = {name: pair for name, pair in first.items() if pair[0] != pair[1]}
    assert len(wrong) <= len(FAULTS) // 12, wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.name)
def test_healthy_real_runs_raise_nothing(case, tmp_path):
    _, callback, ended = train(case, tmp_path / "run", seed=1)
    assert (callback.history, ended) == ([], None)
