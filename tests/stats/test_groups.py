"""Groups of a generation batch, against loops over rows."""

import math
import statistics

import numpy as np
import pytest

from flatspot.stats.groups import group_rows, joined, summarize, weighted_total


def test_groups_are_k_consecutive_rows_of_one_prompt():
    found = group_rows(np.array([4, 4, 4, 9, 9, 9]), 3)
    assert (found.size, found.whole, found.prompt.tolist()) == (3, True, [4, 9])


def test_one_prompt_drawn_twice_running_is_two_groups():
    assert group_rows(np.array([4, 4, 4, 4, 9, 9]), 2).group.tolist() == [0, 0, 1, 1, 2, 2]
    assert group_rows(np.array([4, 4, 4, 4, 9, 9])).size == 2  # inferred: the greatest common divisor of the runs


@pytest.mark.parametrize("rows", [[4, 9, 4, 9], [4, 4, 9, 9, 9, 4], [4, 4, 4, 9]])
def test_rows_that_are_no_such_groups_are_merged_by_prompt_and_said_to_be_broken(rows):
    found = group_rows(np.array(rows), 2)
    assert not found.whole
    assert [found.prompt[g] for g in found.group] == rows


def test_an_empty_batch_has_no_groups():
    assert len(group_rows(np.zeros(0, np.int64)).prompt) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_statistics_are_those_of_a_loop(whole):
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(5), 4)
    parts = rng.choice([0.0, 1.0, np.nan], (2, 20), p=[0.5, 0.4, 0.1])
    parts[:, 4:8] = np.nan  # a group with nothing scored
    parts[:, 8:11], parts[:, 11] = np.nan, 1.0  # and one with a single score
    if not whole:
        order = rng.permutation(20)
        prompt, parts = prompt[order], parts[:, order]
    text, cut = rng.integers(0, 3, 20), rng.integers(0, 2, 20).astype(float)
    total = weighted_total(parts, np.array([1.0, 0.5]))
    grouping = group_rows(prompt, 4)
    assert grouping.whole is whole
    table = summarize(grouping, total, parts, text, cut)
    for g, name in enumerate(grouping.prompt.tolist()):
        rows = np.flatnonzero(prompt == name)
        scored = [total[i] for i in rows if not math.isnan(total[i])]
        assert table.n[g] == len(scored)
        assert table.mean[g] == pytest.approx(statistics.mean(scored) if scored else math.nan, nan_ok=True)
        assert table.std[g] == pytest.approx(statistics.stdev(scored) if len(scored) > 1 else math.nan, nan_ok=True)
        assert table.informative[g] == (len(set(scored)) > 1)
        assert table.distinct[g] == len(set(text[rows].tolist())) / 4
        assert table.truncated[g] == cut[rows].mean()
        for c in range(2):
            own = [parts[c, i] for i in rows if not math.isnan(parts[c, i])]
            assert table.part_std[c, g] == pytest.approx(statistics.stdev(own) if len(own) > 1 else math.nan, nan_ok=True)


def test_a_repeated_completion_with_another_reward_is_counted():
    table = summarize(group_rows(np.zeros(4, np.int64), 4), np.array([0.0, 1.0, 1.0, np.nan]), np.zeros((1, 4)), np.array([7, 7, 7, 7]))
    assert (table.repeats.tolist(), table.unequal.tolist()) == ([2], [1])


def test_float_noise_on_equal_rewards_is_no_signal():
    rewards = np.array([0.7, np.float32(0.7), 0.7, 0.7], float)
    assert not summarize(group_rows(np.zeros(4, np.int64), 4), rewards, rewards[None], np.arange(4)).informative.any()


def test_batches_join():
    one = summarize(group_rows(np.array([0, 0]), 2), np.array([0.0, 1.0]), np.zeros((1, 2)), np.arange(2))
    two = summarize(group_rows(np.array([1, 1]), 2), np.array([0.0, 0.0]), np.zeros((1, 2)), np.arange(2))
    assert joined([one, two]).informative.tolist() == [True, False]
    assert joined([one, two]).part_std.shape == (1, 2)
