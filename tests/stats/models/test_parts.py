"""How graded rewards are sorted into atoms, own values and continuous parts."""

import itertools

import numpy as np
import pytest

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.dictionary import fit_dictionary, log_marginals
from flatspot.stats.models.parts import split
from flatspot.stats.zones import Zones


def parts_of(rewards, zones=None):
    m, n = rewards.shape
    return split(evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m), zones or Zones(0.05))


def test_the_dirichlet_multinomial_sums_to_one_over_every_sequence():
    alpha, n = np.array([[0.3, 0.5, 1.2]]), 5
    sequences = np.array(list(itertools.product(range(3), repeat=n)))
    counts = np.stack([(sequences == v).sum(-1) for v in range(3)], -1)
    assert np.exp(log_marginals(alpha, counts)).sum() == pytest.approx(1)


def test_the_evidence_of_a_dictionary_is_the_log_of_its_mixture():
    counts = np.array([[3, 1, 0], [0, 0, 4], [3, 1, 0]])
    prior = fit_dictionary(counts, np.arange(3.0))
    each = np.log(np.exp(log_marginals(prior.alpha, counts)) @ prior.weights)
    assert prior.log_evidence(counts) == pytest.approx(each.sum())


def test_right_and_wrong_answers_with_noise_are_two_parts():
    rng = np.random.default_rng(0)
    right = rng.random((80, 8)) < rng.beta(0.5, 0.5, (80, 1))
    parts = parts_of(np.where(right, 0.9, 0.1) + 0.01 * rng.standard_normal((80, 8)))
    assert len(parts.rests) == 2
    np.testing.assert_array_equal(parts.counts[:, -1], right.sum(1))


def test_offsets_between_prompts_are_no_gap():
    """Seven prompts far apart: no prompt has rewards on both sides of any gap."""
    rng = np.random.default_rng(0)
    parts = parts_of(100 * np.arange(7)[:, None] + rng.standard_normal((7, 8)), Zones(0.05, 0, 700))
    assert len(parts.rests) == 1


def test_rewards_of_one_shape_are_one_part_and_rewards_over_orders_of_magnitude_are_several():
    rng = np.random.default_rng(0)
    assert len(parts_of(0.5 + 0.1 * rng.standard_normal((100, 8))).rests) == 1
    assert len(parts_of(1 - np.exp(-rng.gamma(0.2, 0.2, (100, 8)))).rests) > 1


def test_scores_rounded_to_two_digits_are_continuous_and_their_ties_known():
    rng = np.random.default_rng(0)
    middle, std = rng.uniform(0.2, 0.8, (200, 1)), np.repeat([0.003, 0.1], 100)[:, None]
    parts = parts_of(np.round(middle + std * rng.standard_normal((200, 8)), 2))
    assert len(parts.values) == 0
    np.testing.assert_allclose(parts.step, 0.01)


@pytest.mark.parametrize(("m", "n", "digits"), [(40, 4, 2), (60, 6, 2), (300, 8, 2), (60, 6, 0)])
def test_rounded_scores_of_few_prompts_that_come_again_by_chance_are_no_atoms(m, n, digits):
    """Two thirds of the prompts vary by a few steps: values that come three times, and their neighbors once, are many."""
    rng = np.random.default_rng(0)
    std = np.where(np.arange(m) < 2 * m // 3, 0.05, 8.0)[:, None]
    raw = 3 * rng.standard_normal((m, 1)) + std * rng.standard_normal((m, n))
    parts = parts_of(np.round(raw * 10.0 ** (2 - digits), digits), Zones(0.05, -1e4, 1e4, stated=False))
    assert len(parts.values) == 0


def test_every_tenth_of_a_lattice_may_be_an_atom():
    """A judge gives whole points from 0 to 100, and mostly tens."""
    rng = np.random.default_rng(0)
    points = np.clip(rng.normal(rng.uniform(20, 80, (100, 1)), 20, (100, 8)), 0, 100)
    rewards = np.where(rng.random((100, 8)) < 0.7, 10 * np.round(points / 10), np.round(points))
    assert set(parts_of(rewards, Zones(0.05, 0, 100)).values) >= {20, 30, 40, 50, 60, 70, 80}


def test_values_that_stand_out_of_a_lattice_are_atoms():
    rng = np.random.default_rng(0)
    rewards = np.round(rng.uniform(0.2, 0.8, (200, 1)) + 0.1 * rng.standard_normal((200, 8)), 2)
    rewards[rng.random((200, 8)) < 0.3] = 0.5
    assert parts_of(rewards).values.tolist() == [0.5]


def test_a_value_only_one_prompt_repeats_is_its_own():
    rng = np.random.default_rng(0)
    reward = np.r_[np.full(8, 0.37), rng.random(80)]
    parts = split(evidence_of_rows(np.repeat(np.arange(11), 8), reward, 11), Zones(0.05))
    assert parts.own[0] == 0.37
    assert parts.counts[0].tolist() == [8, 0]
    assert (parts.counts[1:, -1] == 8).all()


@pytest.mark.parametrize(
    "rewards", [np.full((3, 4), 0.5), np.array([[0.1], [0.7]]), np.array([[0.25, 0.75]]), np.array([[0.1, 0.2, 0.3]]), np.zeros((1, 1))]
)
def test_the_smallest_sets_have_parts(rewards):
    parts = parts_of(rewards)
    assert parts.counts.sum() == rewards.size
    assert len(parts.rests) == 1
