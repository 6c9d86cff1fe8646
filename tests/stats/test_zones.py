import itertools

import numpy as np
import pytest

from flatspot.core.errors import SettingsError
from flatspot.stats.zones import Zones, chance_of_best, epsilon_for_group, reach_at


@pytest.mark.parametrize("group_size", [3, 8, 16, 64])
def test_epsilon_is_where_a_third_of_the_groups_is_mixed_by_enumeration(group_size):
    p = epsilon_for_group(group_size)
    if group_size <= 8:
        groups = list(itertools.product([0, 1], repeat=group_size))
        mixed = sum(p ** sum(g) * (1 - p) ** (group_size - sum(g)) for g in groups if 0 < sum(g) < group_size)
    else:
        draws = np.random.default_rng(0).random((200_000, group_size)) < p
        mixed = (draws.any(1) & ~draws.all(1)).mean()
    assert mixed == pytest.approx(0.34, abs=1e-6 if group_size <= 8 else 0.005)


def test_tiny_groups_are_capped_and_single_ones_refused():
    assert epsilon_for_group(2) == 0.2
    with pytest.raises(SettingsError, match="at least 2"):
        epsilon_for_group(1)


def test_on_zero_one_rewards_the_states_are_thresholds_on_p():
    epsilon = 0.05
    zones = Zones(epsilon)
    p = np.linspace(0, 1, 2001)
    states = zones.states(p, np.sqrt(p * (1 - p)), np.ones_like(p))
    away = (np.abs(p - epsilon) > 1e-6) & (np.abs(p - (1 - epsilon)) > 1e-6)
    assert (states[away, 0] == (p < epsilon)[away]).all()
    assert (states[away, 2] == (p > 1 - epsilon)[away]).all()
    assert (states.sum(-1) == 1).all()
    wrong = zones.loss(p, np.sqrt(p * (1 - p)), np.ones_like(p))
    away &= np.min(np.abs(p[:, None] - np.array([2 * epsilon, epsilon / 2, 1 - epsilon / 2, 1 - 2 * epsilon])), -1) > 1e-6
    assert (wrong[away, 0] == (p >= 2 * epsilon)[away]).all()
    assert (wrong[away, 1] == ((p <= epsilon / 2) | (p >= 1 - epsilon / 2))[away]).all()
    assert (wrong[away, 2] == (p <= 1 - 2 * epsilon)[away]).all()


def test_states_do_not_change_under_affine_maps_of_the_reward():
    rng = np.random.default_rng(0)
    mean, std, r_star = rng.random(500), rng.random(500) * 0.3, np.full(500, 0.9)
    base = Zones(0.05).states(mean, std, r_star)
    moved = Zones(0.05, -3.0, 7.0).states(mean * 10 - 3, std * 10, r_star * 10 - 3)
    assert (base == moved).all()


def test_a_constant_reward_at_what_is_achievable_is_solved_and_below_it_vanishing():
    zones = Zones(0.05)
    states = zones.states(np.array([0.5, 0.5]), np.zeros(2), np.array([0.5, 1.0]))
    assert states.argmax(-1).tolist() == [2, 0]


def test_reach_is_the_zero_one_reach():
    p = 0.05
    assert reach_at(p) == pytest.approx((1 - p) / np.sqrt(p * (1 - p)))


def test_an_empty_range_is_refused():
    with pytest.raises(SettingsError, match="LO < HI"):
        Zones(0.05, 1.0, 1.0)


def test_the_chance_of_the_best_is_p_on_zero_one_rewards_and_never_less_than_the_truth():
    p = np.linspace(0, 1, 21)
    assert chance_of_best(p, np.sqrt(p * (1 - p)), np.ones(21)) == pytest.approx(p)
    rng = np.random.default_rng(0)
    for _ in range(200):  # any reward on five values: Cantelli holds
        values, weights = np.sort(rng.random(5)), rng.dirichlet(np.ones(5))
        mean = weights @ values
        std = np.sqrt(weights @ values**2 - mean**2)
        for r_star in values:
            truth = weights[values >= r_star].sum()
            assert chance_of_best(np.array(mean), np.array(std), np.array(r_star)) >= truth - 1e-12 or r_star <= mean
