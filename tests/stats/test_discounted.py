"""States of prompts under a policy that changes, against sums written out."""

import numpy as np
import pytest

from flatspot.stats.discounted import HALF_LIVES, DiscountedStates
from flatspot.stats.zones import Zones

ZONES = Zones(0.05)


def feed(states, step, prompts, hits, k=8, *, binary=True):
    p = np.array(hits) / k
    std = np.sqrt(p * (1 - p) * k / (k - 1))
    states.absorb(step, np.array(prompts), np.full(len(p), k), p, std, binary=binary, zones=ZONES)


def test_old_rewards_count_by_half_lives():
    states = DiscountedStates()
    feed(states, 0, [0], [8])
    feed(states, 6, [0], [0])
    feed(states, 9, [0], [4])
    for h, (n, total) in zip(HALF_LIVES, states.moments[:2, :, 0].T, strict=True):
        weights = [2 ** (-9 / h), 2 ** (-3 / h), 1]
        assert n == pytest.approx(8 * sum(weights))
        assert total == pytest.approx(8 * weights[0] + 4 * weights[2])


def test_prompts_that_stay_put_keep_their_whole_past_and_their_states():
    rng, states = np.random.default_rng(0), DiscountedStates()
    p = np.repeat([0.0, 0.5, 1.0], 20)
    for step in range(40):
        feed(states, step, np.arange(60), rng.binomial(8, p))
    assert states.half_life >= 100
    assert states.state.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert states.shares() == pytest.approx([1 / 3] * 3)


def test_a_prompt_that_is_learned_moves_from_vanishing_over_learnable_to_solved():
    rng, states = np.random.default_rng(0), DiscountedStates()
    for step in range(150):
        p = np.clip((step - 50) / 50, 0, 1)
        feed(states, step, np.arange(20), rng.binomial(8, np.full(20, p)))
    assert states.moved() == {"vanishing→learnable": 20, "learnable→solved": 20}
    assert states.half_life <= 10


def test_graded_rewards_are_judged_by_mean_and_std():
    states = DiscountedStates()
    for step in range(3):
        mean, std = np.array([0.2, 0.2, 0.97]), np.array([0.01, 0.3, 0.01])
        states.absorb(step, np.arange(3), np.full(3, 8), mean, std, binary=False, zones=ZONES)
    assert states.state.tolist() == [0, 1, 2]


def test_nothing_scored_changes_nothing():
    states = DiscountedStates()
    states.absorb(0, np.array([0]), np.array([0]), np.array([np.nan]), np.array([np.nan]), binary=True, zones=ZONES)
    assert len(states.state) == 0
    assert states.shares().tolist() == [0, 0, 0]
