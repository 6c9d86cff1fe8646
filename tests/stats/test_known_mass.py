"""Bounds from known mass, against every place where the unseen mass may lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flatspot.stats.known_mass import KnownMass, bounds, known_mass

GRID = np.linspace(0, 1, 21)


def numbers(values, weights, k):
    """Mean, std, P(mixed in k), gain of the best of k: sums over the values of one distribution."""
    order = np.argsort(values)
    values, weights = np.asarray(values, float)[order], np.asarray(weights, float)[order]
    distinct, place = np.unique(values, return_inverse=True)
    weights = np.bincount(place, weights)
    up_to = np.cumsum(weights)
    best = (distinct * (up_to**k - (up_to - weights) ** k)).sum()
    mean = weights @ distinct
    return np.array([mean, np.sqrt(max(weights @ distinct**2 - mean**2, 0)), 1 - (weights**k).sum(), best - mean])


def of_one(rewards, masses):
    n = len(rewards)
    return known_mass(np.zeros(n, int), np.arange(n), np.asarray(rewards, float), np.asarray(masses, float), 1)


CASES = [
    ([], []),
    ([0.0], [0.7]),
    ([0.0, 1.0], [0.6, 0.3]),
    ([1.0], [1.0]),
    ([0.5], [0.4]),
    ([0.0, 0.5, 0.5, 1.0], [0.1, 0.2, 0.15, 0.25]),
    ([0.2, 0.7], [0.05, 0.9]),
    ([0.05, 0.1, 0.9], [0.3, 0.3, 0.1]),
]


@pytest.mark.parametrize("k", [2, 4, 8])
@pytest.mark.parametrize(("rewards", "masses"), CASES)
def test_no_place_of_the_unseen_mass_leaves_them_and_some_place_attains_them(rewards, masses, k):
    b = bounds(of_one(rewards, masses), 0.0, 1.0, k)
    limits = np.stack([b.mean[0], b.std[0], b.mixed[0], b.gain[0]])
    unseen = 1 - sum(masses)
    rng = np.random.default_rng(0)
    places = [[(point, 1.0)] for point in [*GRID, *rewards, np.clip(np.average(rewards, weights=masses), 0, 1) if rewards else 0.5]]
    places += [[(a, t), (b_, 1 - t)] for a, b_ in itertools.combinations(GRID[::4], 2) for t in (0.2, 0.5, 0.8)]
    places += [[(0.0, t), (1.0, 1 - t)] for t in np.linspace(0, 1, 2001)]
    places += [list(zip(rng.random(60), rng.dirichlet(np.ones(60)), strict=True)) for _ in range(200)]
    every = np.array([numbers([*rewards, *(v for v, _ in q)], [*masses, *(unseen * w for _, w in q)], k) for q in places])
    assert (every >= limits[:, 0] - 1e-9).all()
    assert (every <= limits[:, 1] + 1e-9).all()
    np.testing.assert_allclose(every.min(0), limits[:, 0], atol=1e-6)
    spread = [2] if unseen > 0 else []  # P(mixed) is approached by ever more values
    rest = [i for i in range(4) if i not in spread]
    np.testing.assert_allclose(every.max(0)[rest], limits[rest, 1], atol=1e-6)
    assert every.max(0)[2] >= limits[2, 1] - 0.05


def test_prompts_beside_each_other_are_bounded_alone():
    prompts = np.repeat(np.arange(len(CASES)), [len(r) for r, _ in CASES])
    rewards, masses = (np.concatenate([np.asarray(case[i], float) for case in CASES]) for i in (0, 1))
    shuffled = np.random.default_rng(1).permutation(len(prompts))
    together = known_mass(prompts[shuffled], np.arange(len(prompts))[shuffled], rewards[shuffled], masses[shuffled], len(CASES))
    of_all = bounds(together, 0.0, 1.0, 4)
    for i, case in enumerate(CASES):
        alone = bounds(of_one(*case), 0.0, 1.0, 4)
        for name in ("mean", "std", "mixed", "gain"):
            np.testing.assert_allclose(getattr(of_all, name)[i], getattr(alone, name)[0], atol=1e-12)


def test_another_range_moves_and_stretches_them():
    known, moved = of_one([0.2, 0.7], [0.3, 0.4]), of_one([-2 + 5 * 0.2, -2 + 5 * 0.7], [0.3, 0.4])
    unit, wide = bounds(known, 0.0, 1.0, 8), bounds(moved, -2.0, 3.0, 8)
    np.testing.assert_allclose(wide.mean, -2 + 5 * unit.mean)
    np.testing.assert_allclose(wide.std, 5 * unit.std)
    np.testing.assert_allclose(wide.gain, 5 * unit.gain)
    np.testing.assert_allclose(wide.mixed, unit.mixed)


def test_of_equal_completions_the_largest_mass_counts_once():
    known = known_mass(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 5]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.21, 0.1, 0.5]), 2)
    assert known.mass.round(12).tolist() == [0.31, 0.5]
    assert known.sound


def test_rows_without_a_reward_or_a_probability_are_unseen():
    known = known_mass(np.zeros(3, int), np.arange(3), np.array([1.0, np.nan, 0.0]), np.array([0.2, 0.3, np.nan]), 1)
    assert known.total.tolist() == [0.2]


@pytest.mark.parametrize(
    ("completion", "reward", "mass"),
    [([1, 1], [0.0, 1.0], [0.3, 0.3]), ([1, 2], [0.0, 1.0], [0.7, 0.7])],
    ids=["another reward for the same completion", "more than everything"],
)
def test_what_cannot_be_is_not_sound(completion, reward, mass):
    assert not known_mass(np.zeros(2, int), np.array(completion), np.array(reward), np.array(mass), 1).sound


def test_nothing_known():
    b = bounds(KnownMass(np.zeros(0, int), np.zeros(0), np.zeros(0), 2), 0.0, 1.0, 8)
    assert b.mean.tolist() == [[0.0, 1.0]] * 2
    assert b.std.tolist() == [[0.0, 0.5]] * 2
    assert b.mixed.tolist() == [[0.0, 1.0]] * 2


def test_whatever_numbers_stand_for_the_completions_sums_are_equal_to_the_last_bit():
    """They are hashes, of texts that another process hashes otherwise."""
    rng = np.random.default_rng(0)
    mass, zeros = rng.dirichlet(np.ones(40)) * 0.9, np.zeros(40, int)
    totals = {float(known_mass(zeros, rng.permutation(40), np.zeros(40), mass, 1).mass[0]) for _ in range(50)}
    assert len(totals) == 1
