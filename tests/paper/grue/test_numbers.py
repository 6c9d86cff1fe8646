"""Means, stds, percentiles and shares against sums written out and a simulation of their limits."""

import numpy as np
import pytest

from flatspot_paper.grue.numbers import means_and_stds, percentile, share, task_numbers


def test_means_and_stds_by_hand():
    rewards = np.array([[0.0, 1.0, np.nan], [0.2, 0.2, 0.2], [0.5, np.nan, np.nan]])
    means, stds = means_and_stds(rewards)
    assert means[:2] == pytest.approx([0.5, 0.2])
    assert stds[:2] == pytest.approx([np.sqrt(0.5), 0.0])
    assert stds[1] == 0
    assert np.isnan(stds[2])


def test_inputs_without_two_scores_are_left_out_and_counted():
    numbers = task_numbers(np.array([[0.0, 1.0], [np.nan, 1.0], [0.3, 0.3]]))
    assert (numbers["inputs"], numbers["unscored_inputs"], numbers["unscored_completions"]) == (2, 1, 1)
    assert numbers["mean"]["value"] == pytest.approx(0.4)
    assert numbers["std"]["value"] == pytest.approx(np.sqrt(0.5) / 2)
    assert numbers["shares"]["0.01"]["value"] == 0.5
    with pytest.raises(ValueError, match="no input"):
        task_numbers(np.array([[np.nan, 1.0]]))


def test_percentiles_are_numpys_between_ordered_values():
    values = np.random.default_rng(0).random(48)
    estimate = percentile(values, 10)
    assert estimate["value"] == np.percentile(values, 10)
    assert estimate["low"] in [0.0, *values]
    assert estimate["high"] in values


@pytest.mark.parametrize("percent", [10, 25, 50])
def test_the_limits_of_a_percentile_cover_it(percent):
    rng, true = np.random.default_rng(1), percent / 100
    hits = [one["low"] <= true <= one["high"] for one in (percentile(rng.random(48), percent) for _ in range(2000))]
    assert np.mean(hits) > 0.94


def test_a_share_has_exact_limits():
    estimate = share(0, 48)
    assert (estimate["value"], estimate["low"]) == (0.0, 0.0)
    assert estimate["high"] == pytest.approx(1 - 0.025 ** (1 / 48))
