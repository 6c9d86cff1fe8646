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


def wrong_of_the_last_policy(logits, steps=120, every=4):
    """(share of the decided states that are wrong beyond indifference under the last policy, share decided); logits(step) [M]."""
    rng, states = np.random.default_rng(0), DiscountedStates()
    for step in range(steps):
        p = 1 / (1 + np.exp(-logits(step)))
        prompts = np.flatnonzero(np.arange(len(p)) % every == step % every)
        feed(states, step, prompts, rng.binomial(8, p[prompts]))
    wrong = np.stack([p >= 0.1, (p <= 0.025) | (p >= 0.975), p <= 0.9])  # indifference: from half the threshold to twice it
    decided = states.state >= 0
    return wrong[states.state[decided], np.flatnonzero(decided)].mean(), decided.mean()


@pytest.mark.parametrize("drift", [0.0, 0.02, 0.05, 0.3])
def test_states_are_those_of_the_last_policy_while_it_drifts(drift):
    rng = np.random.default_rng(1)
    start, speed = rng.normal(-3, 2, 300), rng.gamma(1, 1, 300) * drift
    wrong, decided = wrong_of_the_last_policy(lambda step: start + speed * step)
    assert wrong <= 0.035
    assert decided >= 0.85


def test_states_of_before_a_jump_lapse():
    """Halfway all prompts become far easier at once; before states lapsed, three in ten were still those of the old policy."""
    start = np.random.default_rng(1).normal(-3, 2, 300)
    wrong, decided = wrong_of_the_last_policy(lambda step: start + 6.0 * (step > 60))
    assert wrong <= 0.1
    assert decided >= 0.5


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
