"""The reward of a training by what it drew, against the rows themselves."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from flatspot.core.errors import RunFolderError
from flatspot.runs.by_step import GROUPS, curve_of, mean_limits, reward_by_step


def run_of(tmp_path, rows):
    (tmp_path / "rollouts").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "rollouts" / "part-000-000000.parquet")
    return tmp_path


def test_the_curve_is_the_mean_of_the_groups_drawn(tmp_path):
    rng = np.random.default_rng(0)
    steps, groups, size = 40, 8, 4
    step = np.repeat(np.arange(steps), groups * size)
    prompt = np.tile(np.repeat([f"p{i}" for i in range(groups)], size), steps)
    reward = rng.random(len(step))
    split = np.where(np.arange(len(step)) % 97 == 0, "eval", "train")
    run = run_of(tmp_path, {"step": step, "prompt_id": prompt, "reward": reward, "split": split})
    found = reward_by_step(run, (0, 1))
    train = split == "train"
    assert len(found.step) == steps * groups // GROUPS
    assert found.generations.tolist() == [int((train & (step <= last)).sum()) for last in found.step]
    first = [reward[train & (step == s) & (prompt == f"p{i}")].mean() for s in range(found.step[0] + 1) for i in range(groups)]
    assert found.mean[0] == pytest.approx(np.mean(first))
    assert ((found.lo < found.mean) & (found.mean < found.hi)).all()


def test_rewards_that_are_missing_count_as_drawn_and_not_as_zero(tmp_path):
    run = run_of(
        tmp_path, {"step": [0, 0, 1, 1], "prompt_id": ["a", "b", "a", "b"], "reward": [1.0, None, None, None], "split": [None] * 4}
    )
    found = reward_by_step(run, (0, 1))
    assert found.generations.tolist() == [2, 4]
    assert found.mean[0] == 1 and np.isnan(found.mean[1]) and (found.lo[1], found.hi[1]) == (0, 1)


def test_nothing_drawn(tmp_path):
    assert len(curve_of(np.zeros(0, int), np.zeros(0), np.zeros(0, int), (0, 1)).step) == 0
    (tmp_path / "rollouts").mkdir()
    with pytest.raises(RunFolderError, match="no rows of a training"):
        reward_by_step(tmp_path, (0, 1))


def test_limits_are_students_but_for_the_pseudo_values_and_never_close():
    values = np.random.default_rng(0).random(400)
    mean, lo, hi = mean_limits(values, (0, 1))
    exact = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (mean, lo, hi) == pytest.approx((values.mean(), *exact), abs=1e-3)
    for equal in (0.0, 1.0, 0.5):
        assert mean_limits(np.full(20, equal), (0, 1))[2] - mean_limits(np.full(20, equal), (0, 1))[1] > 0.01
    assert mean_limits(np.array([np.nan]), (-1, 1))[1:] == (-1, 1)
    assert mean_limits(np.array([0.3]), (0, 1))[1:] == (0, 1)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_limits_hold_the_mean_as_often_as_they_say(p):
    rng = np.random.default_rng(1)
    groups = rng.binomial(8, p, (2000, 40)) / 8
    limits = np.array([mean_limits(row, (0, 1)) for row in groups])
    assert ((limits[:, 1] <= p) & (p <= limits[:, 2])).mean() > 0.93
