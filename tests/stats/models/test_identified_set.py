"""What too few samples cannot tell, and the one rule by which verdicts are given."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from truth import zero_one

from flatspot.stats.decide import decide, surest
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.identified_set import _events, _sets, binomial, mean_bounds
from flatspot.stats.models.npmle import GRID
from flatspot.stats.models.worst_case import DROP
from flatspot.stats.triage.decider import next_round, start
from flatspot.stats.triage.draws import Draws
from flatspot.stats.triage.loop import triage
from flatspot.stats.triage.plan import Plan
from flatspot.stats.zones import Zones, epsilon_for_group

pytestmark = pytest.mark.thorough

ZONES = Zones(epsilon_for_group(8))
SIZES = (4, 8, 16, 32)


def judged(rewards):
    m, n = rewards.shape
    return fit(evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m), np.ones(m), ZONES)


@pytest.mark.parametrize("half", [np.r_[np.zeros(500), np.ones(500)], np.full(1000, 0.5)], ids=["all or nothing", "all in the middle"])
def test_one_sample_each_tells_the_mean_and_no_more(half):
    """The same rewards come from prompts that are all learnable and from prompts none of which is: both must lie inside."""
    found = judged((np.random.default_rng(0).random((1000, 1)) < half[:, None]).astype(float))
    for i, share in enumerate(ZONES.states(zero_one(half), 1.0).mean(0)):
        assert found.shares[i, 1] - 0.03 <= share <= found.shares[i, 2] + 0.03
    truth = np.array([(1 - half**k - (1 - half) ** k).mean() for k in SIZES])
    assert (found.forecast(SIZES)[:, 1] - 0.03 <= truth).all()
    assert (truth <= found.forecast(SIZES)[:, 2] + 0.03).all()
    assert found.shares[1, 2] - found.shares[1, 1] > 0.9


@pytest.mark.parametrize("n", [1, 2, 3])
def test_limits_hold_for_any_population_at_one_to_three_samples(n):
    """Nine populations, 90% and 95% limits: at most one in nine may miss by chance."""
    missed = 0
    for low, high, share in itertools.product((0.0, 0.02, 0.2), (0.3, 0.6, 1.0), (0.5,)):
        rng = np.random.default_rng(int(1000 * (low + high)))
        p = np.where(rng.random(600) < share, low, high)
        found = judged((rng.random((600, n)) < p[:, None]).astype(float))
        states = ZONES.states(zero_one(p), 1.0).mean(0)
        mixed = np.array([(1 - p**k - (1 - p) ** k).mean() for k in SIZES])
        inside = (found.shares[:, 1] <= states + 1e-9) & (states <= found.shares[:, 2] + 1e-9)
        near = (found.forecast(SIZES)[:, 1] <= mixed + 1e-9) & (mixed <= found.forecast(SIZES)[:, 2] + 1e-9)
        missed += not (inside.all() and near.all())
    assert missed <= 1


def test_bounds_are_those_of_a_search_over_two_point_distributions():
    """One sample each, a known mean of 0.3: the extreme distributions have two points, so trying all pairs finds the limits."""
    found = mean_bounds(np.array([1, 1]), np.array([0, 1]), np.array([7_000_000, 3_000_000]), (GRID**2)[None], level=0.95)[0]
    low, high = np.meshgrid(GRID[GRID <= 0.3], GRID[GRID >= 0.3], indexing="ij")
    weight = (0.3 - low) / (high - low)
    tried = (1 - weight) * low**2 + weight * high**2
    assert found == pytest.approx([tried.min(), tried.max()], abs=0.002)


@pytest.mark.parametrize("n", [3, 1030, 20_000])
def test_the_chance_of_a_count_is_that_of_whole_numbers(n):
    """C(n, s) p^s (1 - p)^(n - s) at p = 1/2 and at the ends, by Python's whole numbers."""
    hits = np.array([0, n // 3, n // 2, n])
    found = binomial(n, hits)
    exact = [math.comb(n, int(s)) / 2**n for s in hits]
    assert found[:, len(GRID) // 2] == pytest.approx(exact, rel=1e-8)
    assert found[:, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found[:, -1].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_one_prompt_with_many_samples_among_prompts_with_two():
    """From about 1,030 samples on the chance of their count overflowed."""
    rng = np.random.default_rng(0)
    p = rng.choice([0.0, 0.4, 1.0], 301)
    n = np.r_[np.full(300, 2), 1030]
    hits = rng.binomial(n, p)
    rewards = np.concatenate([np.arange(draws) < ones for draws, ones in zip(n, hits, strict=True)]).astype(float)
    evidence = evidence_of_rows(np.repeat(np.arange(301), n), rewards, 301)
    found = fit(evidence, np.ones(301), ZONES)
    truth = ZONES.states(zero_one(p), 1.0).mean(0)
    assert (found.shares[:, 1] <= truth).all()
    assert (truth <= found.shares[:, 2]).all()
    assert found.shares[2, 1:].max() < 0.6  # the prompts with two zeros are not solved, so the limits still say something


def test_limits_hold_where_three_hundred_prompts_have_all_different_numbers_of_samples():
    """The true mean lies inside, over two populations; and there are few events however many numbers there are, so it stays quick."""
    above = np.greater(GRID, 0.3)[None] * 1.0
    for seed, (a, b) in enumerate([(0.3, 1.0), (5.0, 2.0)]):
        rng = np.random.default_rng(seed)
        n = np.r_[np.full(700, 2), np.arange(20, 100_020, 10 if seed else 333)[:300]]
        p = rng.beta(a, b, 1000)
        pairs, size = np.unique(np.stack([n, rng.binomial(n, p)], -1), axis=0, return_counts=True)
        low, high = mean_bounds(pairs[:, 0], pairs[:, 1], size, above, level=0.95)[0]
        truth = scipy.stats.beta.sf(0.3, a, b)
        assert low <= truth <= high
        assert high - low < 0.55
        assert sum(len(_events(pairs[at, 0], pairs[at, 1], size[at])[1]) for at in _sets(pairs[:, 0])) < 50


def test_events_of_many_numbers_of_samples_are_as_likely_as_summing_says():
    n, hits, size = np.array([17, 17, 40, 100, 100]), np.array([0, 17, 3, 50, 100]), np.array([1, 2, 3, 4, 5])
    chance, counts = _events(n, hits, size)
    assert counts.sum() == 15
    assert counts[[0, -1]].tolist() == [1, 7]  # none, and all
    at, share = 80, GRID[80]
    none = (3 * (1 - share) ** 17 + 3 * (1 - share) ** 40 + 9 * (1 - share) ** 100) / 15
    all_ = (3 * share**17 + 3 * share**40 + 9 * share**100) / 15
    assert chance[[0, -1], at] == pytest.approx([none, all_])
    assert chance.sum(0) == pytest.approx(np.ones(len(GRID)))


def test_with_enough_samples_nothing_is_widened():
    rng = np.random.default_rng(0)
    found = judged((rng.random((1000, 8)) < rng.random((1000, 1))).astype(float))
    lo, hi = found.shares[1, 1:]
    assert hi - lo < 0.3 and lo <= 1 - 2 * ZONES.epsilon <= hi  # what the profile likelihood leaves open, and no more


def test_one_sample_of_other_rewards_tells_no_share():
    found = judged(np.random.default_rng(0).integers(0, 4, (200, 1)) / 3)
    assert found.shares[:, 1:].tolist() == [[0.0, 1.0]] * 3


def test_the_largest_set_within_the_target_is_given():
    """Against every subset that is a union of the smallest errors, by hand."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        error = rng.choice([0.0, 0.01, 0.05, 0.2, 0.5], 12)
        given = surest(error, 0.04)
        best = max((t for t in (-1.0, *error) if t < 0 or error[error <= t].mean() <= 0.04 + 1e-12), default=-1.0)
        assert given.tolist() == (error <= best).tolist()


def test_nothing_is_decided_on_one_reward_or_none():
    found = decide(np.full((3, 3), 0.001), np.array([0, 1, 2]), 0.03)
    assert found.decided.tolist() == [False, False, True]
    assert decide(np.zeros((3, 3)), np.array([0, 1, 2]), 0.03).decided.tolist() == [False, True, True]  # what is proved needs no second
    assert found.error[0] == 1


def test_the_std_seen_never_lies_outside_its_limits():
    for n in (2, 3, 4, 7):
        rewards = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
        m = len(rewards)
        evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
        lo, hi = fit(evidence, np.ones(m), ZONES).std_limits.T
        assert (lo <= evidence.std).all()
        assert (evidence.std <= hi).all()


@pytest.mark.parametrize("budget", [60, 250, 900])
def test_no_more_than_the_budget_is_drawn(budget):
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 1, 60)
    found = triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), 60, max_total=budget)
    assert found.n_samples.sum() <= budget
    assert found.n_samples.min() >= 1
    assert budget > 250 or (found.verdict == "undecided").any()


def test_small_sets_are_drawn_until_decided_or_at_the_cap():
    """What the rule settled under a fit to all prompts is drawn on where the fit to the others is not yet sure."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 1, 12)
    found = triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), 12)
    assert (found.n_samples[found.verdict == "undecided"] == 64).all()


def test_nothing_drawn_has_no_evidence():
    assert Draws.none(4).evidence().n.tolist() == [0] * 4


def realized(name, seed, target):
    rng = np.random.default_rng(seed)
    u = rng.random(1000)
    p = {"clumps": np.where(u < 0.5, 0.02, 0.3), "apart": np.where(u < 0.5, 0.0, 0.5)}[name]
    found = triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), 1000, target_error=target)
    wrong = Zones(0.05).loss(zero_one(p), 1.0)
    best = np.array(["vanishing", "learnable", "solved"])
    return found, np.mean([wrong[x, np.flatnonzero(best == v)[0]] for x, v in enumerate(found.verdict) if v in best])


@pytest.mark.parametrize("target", [0.05, 0.02])
def test_the_limit_of_the_error_holds_where_the_fit_is_misled(target):
    """Two clumps astride the limit: the stated error is missed, the limit that `worst_case` holds is not (within 2 standard errors).

    The one at half its drop is too low here at a target of 5%: by up to two points.
    """
    for seed in range(4):
        found, error = realized("clumps", seed, target)
        limit = found.fitted.worst_case_error(found.decisions.state, 2 * DROP)
        assert error <= limit + 2 * np.sqrt(error / 1000)
        assert limit > found.worst_case_error > 1.2 * found.predicted_error


def test_the_limit_is_small_where_prompts_are_far_from_the_thresholds():
    found, error = realized("apart", 0, 0.02)
    assert error <= found.worst_case_error
    assert found.worst_case_error < 0.06


def test_no_verdict_no_limit():
    assert np.isnan(triage(lambda i, k: np.full((len(i), k), np.nan), 3).worst_case_error)


def test_costly_prompts_are_drawn_more_often_at_a_time():
    for cost, first in ((0.0, 4), (10.0, 12), (1000.0, 40)):
        plan = Plan(10, max_completions=40, visit_cost=cost)
        assert next_round(start(plan)).n_completions == first
