import numpy as np
import pytest
from scipy import stats

from flatspot.stats.intervals import (
    binary_std_interval,
    clopper_pearson,
    equal_rewards_std_upper,
    stratum_weights,
    weighted_share,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 10), (3, 10), (10, 10), (7, 64)])
def test_clopper_pearson_is_scipys(hits, n):
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    lo, hi = clopper_pearson(hits, n)
    assert (float(lo), float(hi)) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_draws_say_nothing():
    assert [float(x) for x in clopper_pearson(0, 0)] == [0.0, 1.0]
    assert [float(x) for x in binary_std_interval(0, 0)] == [0.0, 0.5]


@pytest.mark.parametrize("n", [4, 8, 10, 16, 32, 64, 300])
def test_the_std_interval_covers_by_enumeration(n):
    """P(std in the interval | p) summed over every outcome, at many p: the coverage is exact, not simulated."""
    hits = np.arange(n + 1)
    lo, hi = binary_std_interval(hits, np.full(n + 1, n))
    p = np.linspace(0, 1, 2001)
    std = np.sqrt(p * (1 - p))
    inside = (lo[None] <= std[:, None] + 1e-12) & (std[:, None] <= hi[None] + 1e-12)
    coverage = (stats.binom.pmf(hits[None], n, p[:, None]) * inside).sum(-1)
    assert coverage.min() >= 0.95


@pytest.mark.parametrize("n", [1, 2, 8, 64, 5000])
def test_equal_rewards_never_give_a_point(n):
    lo, hi = binary_std_interval(0, n)
    assert hi > lo >= 0
    assert equal_rewards_std_upper(np.array(0.3), np.array(n), 0.0, 1.0) > 0


def test_equal_rewards_bound_holds_for_the_worst_two_point_reward():
    """The largest std any reward in [0, 1] can have and still show ten equal rewards of 0.3 in 2.5% of samples."""
    bound = float(equal_rewards_std_upper(np.array(0.3), np.array(10), 0.0, 1.0))
    worst = 0.0
    for elsewhere in np.linspace(0, 1, 101):
        for q in np.linspace(0, 0.5, 501):
            if (1 - q) ** 10 >= 0.025:
                worst = max(worst, abs(elsewhere - 0.3) * np.sqrt(q * (1 - q)))
    assert worst <= bound <= worst * 1.02


def test_shares_stand_for_the_run_whose_strata_were_probed_unevenly():
    stratum, of_run = np.repeat([0, 1, 2], [30, 8, 2]), np.array([0.2, 0.5, 0.3])
    weights = stratum_weights(stratum, of_run)
    assert [weights[stratum == s].sum() for s in range(3)] == pytest.approx(of_run)
    share = weighted_share(np.r_[np.zeros(30), np.ones(10)], stratum, of_run)
    assert share.mean == pytest.approx(0.8)
    only = stratum_weights(np.zeros(4, np.int64), of_run)
    assert only.tolist() == [0.25] * 4  # strata that nobody probed are left out


def test_a_share_of_a_probe_is_as_uncertain_as_the_fit_that_its_prompts_share():
    p, stratum, of_run = np.full(40, 0.3), np.zeros(40, np.int64), np.array([1.0, 0.0, 0.0])
    own = weighted_share(p, stratum, of_run)
    wide = weighted_share(p, stratum, of_run, np.array([0.25, 0.05, 0.8]))
    assert (wide.mean, wide.lo, wide.hi) == pytest.approx((0.3, 0.1, 0.85))
    narrow = weighted_share(p, stratum, of_run, np.array([0.25, 0.24, 0.26]))
    assert (narrow.lo, narrow.hi) == (own.lo, own.hi)  # the fit says nothing of which prompts were probed


@pytest.mark.thorough
@pytest.mark.parametrize("points", [(0.04, 0.5), (0.02, 0.101), (0.0, 0.11)])
def test_the_share_of_a_probe_holds_where_prompts_lie_at_the_threshold(points):
    """50 prompts of a run, 60% at the first point: all of these, and no others, are vanishing at epsilon = 0.05."""
    from flatspot.stats.triage.loop import triage

    inside = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        p = np.where(rng.random(50) < 0.6, *points)
        model = triage(lambda i, k, p=p, rng=rng: (rng.random((len(i), k)) < p[i, None]).astype(float), 50, target_error=0.05).fitted
        share = weighted_share(model.states[:, 0], np.zeros(50, np.int64), np.array([1.0, 0.0, 0.0]), model.shares[0])
        inside.append(share.lo <= 0.6 <= share.hi)
    assert np.mean(inside) >= 0.8


def test_limits_hold_the_share_of_the_whole_run():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        truth = rng.uniform(0.05, 0.95, 2)
        p = np.r_[(rng.random(30) < truth[0]), (rng.random(10) < truth[1])].astype(float)
        share = weighted_share(p, np.repeat([0, 1], [30, 10]), np.array([0.6, 0.4]))
        inside += share.lo <= 0.6 * truth[0] + 0.4 * truth[1] <= share.hi
    assert inside / 300 > 0.92
