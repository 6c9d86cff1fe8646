import itertools

import numpy as np
import pytest
from truth import zero_one

from flatspot.core.errors import SettingsError
from flatspot.stats.zones import (
    STATES,
    Odds,
    Zones,
    achievable,
    chance_of_best,
    epsilon_for_group,
    reach_at,
    typical_gain,
)


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


def odds_of(values, weights, r_star, group_size=8):
    """Of rewards with these values and probabilities: the best of K by its distribution, the mixed groups by the equal ones."""
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    order = np.argsort(values)
    up_to = np.cumsum(weights[order])
    best = values[order] @ np.diff(np.r_[0, up_to**group_size])
    mean = weights @ values
    return Odds(np.array(1 - (weights**group_size).sum()), np.array(best - mean), np.array(r_star - mean))


@pytest.mark.parametrize("group_size", [4, 8, 32])
@pytest.mark.parametrize("advantage", ["centered", "normalized"])
def test_on_zero_one_rewards_the_states_are_thresholds_on_p(group_size, advantage):
    epsilon = epsilon_for_group(group_size)
    zones = Zones(epsilon, group_size=group_size, advantage=advantage)
    p = np.linspace(0, 1, 2001)
    odds = zero_one(p, group_size)
    states = zones.states(odds, 1.0)
    away = (np.abs(p - epsilon) > 1e-6) & (np.abs(p - (1 - epsilon)) > 1e-6)
    assert (states[away, 0] == (p < epsilon)[away]).all()
    assert (states[away, 2] == (p > 1 - epsilon)[away]).all()
    assert (states.sum(-1) == 1).all()
    wrong = zones.loss(odds, 1.0)
    away &= np.min(np.abs(p[:, None] - np.array([2 * epsilon, epsilon / 2, 1 - epsilon / 2, 1 - 2 * epsilon])), -1) > 1e-6
    assert (wrong[away, 0] == (p >= 2 * epsilon)[away]).all()
    assert (wrong[away, 1] == ((p <= epsilon / 2) | (p >= 1 - epsilon / 2))[away]).all()
    assert (wrong[away, 2] == (p <= 1 - 2 * epsilon)[away]).all()


def test_states_do_not_change_under_affine_maps_of_the_reward():
    rng = np.random.default_rng(0)
    odds = Odds(rng.random(500), rng.random(500) * 0.1, rng.random(500))
    moved = Odds(odds.mixed, odds.gain * 10, odds.headroom * 10)
    assert (Zones(0.05).states(odds, 1.0) == Zones(0.05, -3.0, 7.0).states(moved, 10.0)).all()


@pytest.mark.parametrize(
    ("values", "weights", "r_star", "centered", "normalized"),
    [
        ([0.5], [1], 0.5, "solved", "solved"),
        ([0.5], [1], 1.0, "vanishing", "vanishing"),
        ([0.5], [1], np.inf, "vanishing", "vanishing"),  # what can be earned is not known
        ([1.0, 1.5], [0.5, 0.5], 1.5, "learnable", "learnable"),
        ([0.010, 0.018], [0.5, 0.5], 1.0, "vanishing", "learnable"),  # differs, but by little
        ([0.992, 1.0], [0.5, 0.5], 1.0, "solved", "learnable"),
        ([0.0, 1.0], [0.97, 0.03], 1.0, "vanishing", "vanishing"),
        ([0.0, 1.0], [0.5, 0.5], 0.5, "learnable", "learnable"),  # a large std is never solved
    ],
)
def test_is_there_a_signal_and_is_something_left_to_win(values, weights, r_star, centered, normalized):
    for advantage, expected in (("centered", centered), ("normalized", normalized)):
        states = Zones(0.0506, advantage=advantage).states(odds_of(values, weights, r_star), 1.0)
        assert STATES[states.argmax()] == expected


def test_the_scale_is_a_stated_width_or_the_typical_gain():
    assert Zones(0.05, 0.0, 4.0).scale == 4.0
    assert Zones(0.05, 0.0, 4.0, stated=False).scale is None
    gains = np.r_[np.zeros(5), np.full(7, 2.0)]
    assert typical_gain(gains) == 2.0
    assert typical_gain(np.r_[gains, 1e6]) == 2.0  # one prompt moves nothing
    assert typical_gain(np.r_[gains, np.full(14, 1e-4)]) == pytest.approx(2.0)  # nor do many that hardly vary
    assert typical_gain(np.full(3, np.nan)) == 1.0


def test_what_is_achievable_is_never_invented_nor_below_what_was_seen():
    answer, best = np.array([0.6, 0.2, np.nan, np.nan]), np.array([0.0, 0.8, 0.3, np.nan])
    assert achievable(answer, best, None) == pytest.approx([0.6, 0.8, np.nan, np.nan], nan_ok=True)
    assert achievable(answer, best, 1.0).tolist() == [1.0] * 4  # said to be within reach, however poor the answer


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
