"""Paired changes: against enumeration and formulas computed otherwise."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from flatspot.stats.paired import Rewards, largest_std, mean_change, mixed_share, own_changes, std_of_first


def test_limits_are_those_of_student_on_two_more_prompts():
    rng = np.random.default_rng(0)
    before, after = rng.random(12), rng.random(12)
    found = mean_change(before, after, 1.0)
    lo, hi = stats.t.interval(0.95, 13, loc=(after - before).sum() / 14, scale=stats.sem(np.r_[after - before, 1.0, -1.0]))
    assert (found.lo, found.hi) == pytest.approx((lo, hi)) and found.change == pytest.approx((after - before).mean())


@pytest.mark.parametrize("n", [5, 12, 30])
def test_limits_cover_paired_shares(n):
    """All outcomes of n pairs of 0/1, enumerated: gains, losses, ties."""
    outcomes = [(up, down) for up in range(n + 1) for down in range(n + 1 - up)]
    limits = [
        mean_change(np.repeat([0.0, 1.0, 0.0], [up, down, n - up - down]), np.repeat([1.0, 0.0], [up, n - up]), 1.0)
        for up, down in outcomes
    ]
    lo, hi = np.array([x.lo for x in limits]), np.array([x.hi for x in limits])
    coverage = []
    for p, q in itertools.product([0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5], repeat=2):
        chance = np.array(
            [math.comb(n, up) * math.comb(n - up, down) * p**up * q**down * max(1 - p - q, 0.0) ** (n - up - down) for up, down in outcomes]
        )
        coverage.append(chance[(lo <= p - q + 1e-12) & (p - q <= hi + 1e-12)].sum())
    assert min(coverage) > 0.935 and np.mean(coverage) > 0.97


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8])
def test_no_std_is_larger_than_the_largest(k):
    found = [np.std(r, ddof=1) for r in itertools.product([-1.0, 0.3, 2.0], repeat=k)]
    assert largest_std(k, 3.0) == pytest.approx(max(found))


@pytest.mark.parametrize(("n", "k"), [(5, 2), (12, 2), (12, 4), (30, 4)])
def test_limits_cover_paired_stds(n, k):
    """Prompts whose chance of a 1 changes, drawn anew: the truth is the mean over all prompts of the expected std, summed by hand."""
    hits = np.arange(k + 1)
    std = np.sqrt(hits * (k - hits) / (k * (k - 1)))
    rng, coverage = np.random.default_rng(0), []
    for before, after in (([0.0], [0.5]), ([0.0, 0.5], [0.0, 0.5]), ([0.05], [0.2, 0.9]), ([0.5], [0.02]), ([0.01], [0.01])):
        means = [np.mean([stats.binom.pmf(hits, k, p) @ std for p in chances]) for chances in (before, after)]
        inside = 0
        for _ in range(300):
            drawn = [std[rng.binomial(k, rng.choice(chances, n))] for chances in (before, after)]
            found = mean_change(*drawn, largest_std(k, 1.0))
            inside += found.lo <= means[1] - means[0] <= found.hi
        coverage.append(inside / 300)
    assert min(coverage) > 0.935 and np.mean(coverage) > 0.97


def test_limits_of_one_prompt_cover_two_shares():
    """Agresti and Caffo: both sides' hits enumerated."""
    for n, m in ((8, 8), (4, 32)):
        outcomes = list(itertools.product(range(n + 1), range(m + 1)))
        prompt_a, prompt_b = (np.repeat(np.arange(len(outcomes)), size) for size in (n, m))
        a = Rewards(prompt_a, np.concatenate([np.r_[np.ones(i), np.zeros(n - i)] for i, _ in outcomes]))
        b = Rewards(prompt_b, np.concatenate([np.r_[np.ones(j), np.zeros(m - j)] for _, j in outcomes]))
        change, lo, hi = own_changes(a, b, len(outcomes), 0.0, 1.0)
        assert change == pytest.approx([j / m - i / n for i, j in outcomes])
        coverage = [
            (stats.binom.pmf([i for i, _ in outcomes], n, p) * stats.binom.pmf([j for _, j in outcomes], m, q))[
                (lo <= q - p) & (q - p <= hi)
            ].sum()
            for p, q in itertools.product([0.02, 0.1, 0.3, 0.5, 0.8], repeat=2)
        ]
        assert min(coverage) > 0.90 and np.mean(coverage) > 0.95


def test_groups_and_stds_are_those_of_all_subsets():
    rng = np.random.default_rng(3)
    rewards = [rng.choice([0.0, 0.5, 1.0], size) for size in (9, 6, 3, 1)]
    side = Rewards(np.repeat(np.arange(4), [9, 6, 3, 1]), np.concatenate(rewards))
    k = np.array([4, 6, 2, 1])
    by_hand = [
        np.mean([len(set(group)) > 1 for group in itertools.combinations(r, int(size))]) for r, size in zip(rewards[:3], k, strict=False)
    ]
    assert mixed_share(side, k)[:3] == pytest.approx(by_hand) and np.isnan(mixed_share(side, k)[3])
    assert std_of_first(side, k)[:3] == pytest.approx([np.std(r[:size], ddof=1) for r, size in zip(rewards[:3], k, strict=False)])
    assert np.isnan(std_of_first(side, k)[3])


def test_thousands_of_completions_do_not_overflow():
    side = Rewards(np.zeros(5000, np.int64), np.r_[np.ones(50), np.zeros(4950)])
    assert mixed_share(side, np.array([64])) == pytest.approx(1 - stats.hypergeom.pmf(0, 5000, 50, 64))


def test_no_prompt_in_common_is_nothing():
    assert mean_change(np.array([np.nan]), np.array([1.0]), 1.0).n == 0
