"""Limits of the share of the very prompts, against enumeration and against sets whose truth is known."""

import itertools

import numpy as np
import pytest
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.intervals import counted_limits
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.worst_case import largest_mean
from flatspot.stats.zones import Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))


def model_of(p, k, rng):
    rewards = (rng.random((len(p), k)) < p[:, None]).astype(float)
    return fit(evidence_of_rows(np.repeat(np.arange(len(p)), k), rewards.ravel(), len(p)), np.full(len(p), np.nan), ZONES)


def counts_and_sum(like, member, size, steps=40):
    """[V] max over g of P(counts, so many prompts at points that are members), g over a simplex of three points: by convolution."""
    best = np.full(size.sum() + 1, -np.inf)
    for a, b in itertools.product(range(steps + 1), repeat=2):
        if a + b > steps:
            continue
        g = np.array([a, b, steps - a - b]) / steps
        out, within = like[:, ~member] @ g[~member], like[:, member] @ g[member]
        chance = np.ones(1)
        for o, i, m in zip(out, within, size, strict=True):
            for _ in range(m):
                chance = np.convolve(chance, [o, i])
        with np.errstate(divide="ignore"):
            best = np.maximum(best, np.log(chance))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_limit_is_that_of_the_counts_and_the_sum_enumerated(seed):
    """30 prompts, three points: within a prompt of the largest sum whose profile likelihood is within the drop."""
    rng = np.random.default_rng(seed)
    points, member, drop = np.array([0.02, 0.2, 0.6]), np.array([True, False, False]), 1.921
    ones, size = np.unique(rng.binomial(6, rng.choice(points, 30)), return_counts=True)
    like = points ** ones[:, None] * (1 - points) ** (6 - ones[:, None])
    height = counts_and_sum(like, member, size)
    largest = np.flatnonzero(height >= height.max() - drop).max()
    ours = 30 * largest_mean(like, np.broadcast_to(member * 1.0, like.shape), size.astype(float), 30, drop=drop, realized=True)
    assert abs(ours - largest) <= 1.0


def test_of_a_set_that_is_plain_the_limits_are_its_share():
    """60 completions tell each prompt: no doubt is left of these, whatever may be of others."""
    p = np.repeat([0.0, 0.5], [30, 70])
    model = model_of(p, 60, np.random.default_rng(0))
    lo, hi = model.set_limits(0)
    assert 0.29 <= lo <= 0.3 <= hi <= 0.31
    assert model.shares[0, 1] < 0.25 and model.shares[0, 2] > 0.35


def test_within_indifference_a_prompt_may_be_called_so_and_need_not():
    """All at .07: with 3,000 completions each it is plain that vanishing is no wrong verdict, and neither is learnable."""
    model = model_of(np.full(60, 0.07), 3000, np.random.default_rng(0))
    assert model.set_limits(0) == (1.0, 0.0)
    assert model.set_limits(1) == (1.0, 0.0)


def test_unscored_prompts_count_for_nothing_and_none_scored_leaves_all_open():
    rng = np.random.default_rng(1)
    p = rng.choice([0.0, 0.5], 40)
    rewards = (rng.random((40, 8)) < p[:, None]).astype(float)
    alone = fit(evidence_of_rows(np.repeat(np.arange(40), 8), rewards.ravel(), 40), np.full(40, np.nan), ZONES)
    beside = fit(evidence_of_rows(np.repeat(np.arange(40), 8), rewards.ravel(), 50), np.full(50, np.nan), ZONES)
    assert alone.set_limits(0) == beside.set_limits(0)
    none = fit(evidence_of_rows(np.zeros(0, int), np.zeros(0), 3), np.full(3, np.nan), ZONES)
    assert none.set_limits(0) == (0.0, 1.0)


def test_graded_rewards_count_each_prompt_by_its_own_probability():
    rng = np.random.default_rng(0)
    rewards = np.concatenate([np.full((20, 30), 0.5), rng.choice([0.0, 0.5, 1.0], (80, 30))])
    model = fit(evidence_of_rows(np.repeat(np.arange(100), 30), rewards.ravel(), 100), np.ones(100), Zones(0.05))
    assert model.family != "binary"
    lo, hi = model.set_limits(0)
    assert 0.15 < lo <= 0.2 <= hi < 0.25
    one_each = fit(evidence_of_rows(np.arange(5), np.array([0.0, 0.3, 0.5, 0.2, 1.0]), 5), np.ones(5), Zones(0.05))
    assert one_each.set_limits(0) == (0.0, 1.0)


def test_counted_limits_hold_nineteen_times_in_twenty():
    rng, held = np.random.default_rng(3), []
    for _ in range(400):
        p = rng.beta(0.2, 0.4, 60)
        count = (rng.random(60) < p).mean()
        lo, hi = counted_limits(p, p)
        held.append((lo <= count) and (count <= hi))
    assert np.mean(held) >= 0.94


@pytest.mark.thorough
@pytest.mark.parametrize("k", [3, 4, 16])
@pytest.mark.parametrize(
    "population",
    [
        lambda rng, m: np.where(rng.random(m) < 0.6, 0.04, 0.5),
        lambda rng, m: rng.choice([0.02, 0.12, 0.98], m),
        lambda rng, m: rng.uniform(0.03, 0.08, m),
        lambda rng, m: rng.beta(0.25, 1, m),
    ],
    ids=["under the threshold", "on both sides", "around it", "smooth"],
)
def test_the_limits_of_the_set_hold_where_prompts_crowd_at_a_threshold(population, k):
    """30 sets of 100 prompts: what must be called vanishing is no more than `hi`, what may be no less than `lo`."""
    missed = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        p = population(rng, 100)
        lo, hi = model_of(p, k, rng).set_limits(0)
        wrong = ZONES.loss(zero_one(p), 1.0)
        missed += not (lo <= 1 - wrong[:, 0].mean() + 1e-9 and np.delete(wrong, 0, 1).min(1).mean() <= hi + 1e-9)
    assert missed <= 4  # of 30 at 5%: more than 4 come once in 60


def test_graded_limits_of_the_set_know_what_few_completions_cannot_tell():
    """Three values, 8 completions, most prompts around the threshold: the number that must be called vanishing is within them."""
    from truth import of_weights

    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.choice([0.02, 0.12], 100)
        rewards = (rng.random((100, 8)) < p[:, None]) * rng.choice([0.5, 1.0], (100, 8))
        model = fit(evidence_of_rows(np.repeat(np.arange(100), 8), rewards.ravel(), 100), np.full(100, np.nan), Zones(0.05))
        wrong = Zones(0.05).loss(of_weights(np.array([0.0, 0.5, 1.0]), np.stack([1 - p, p / 2, p / 2], -1)), 1.0)
        lo, hi = model.set_limits(0)
        held.append(lo <= (1 - wrong[:, 0]).mean() + 1e-9 and np.delete(wrong, 0, 1).min(1).mean() <= hi + 1e-9)
    assert np.mean(held) >= 0.9
