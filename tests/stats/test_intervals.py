import numpy as np
import pytest
from scipy import stats

from flatspot.stats.intervals import clopper_pearson, equal_rewards_std_upper, two_valued_std_interval, variance_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 10), (3, 10), (10, 10), (7, 64)])
def test_clopper_pearson_is_scipys(hits, n):
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    lo, hi = clopper_pearson(hits, n)
    assert (float(lo), float(hi)) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_draws_say_nothing():
    assert [float(x) for x in clopper_pearson(0, 0)] == [0.0, 1.0]
    assert [float(x) for x in two_valued_std_interval(0, 0)] == [0.0, 0.5]


@pytest.mark.parametrize("n", [4, 8, 10, 16, 32, 64, 300])
def test_the_std_interval_covers_by_enumeration(n):
    """P(std in the interval | p) summed over every outcome, at many p: the coverage is exact, not simulated."""
    hits = np.arange(n + 1)
    lo, hi = two_valued_std_interval(hits, np.full(n + 1, n))
    p = np.linspace(0, 1, 2001)
    std = np.sqrt(p * (1 - p))
    inside = (lo[None] <= std[:, None] + 1e-12) & (std[:, None] <= hi[None] + 1e-12)
    coverage = (stats.binom.pmf(hits[None], n, p[:, None]) * inside).sum(-1)
    assert coverage.min() >= 0.95


@pytest.mark.parametrize("n", [1, 2, 8, 64, 5000])
def test_equal_rewards_never_give_a_point(n):
    lo, hi = two_valued_std_interval(0, n)
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


def test_variance_interval_covers_normal_samples():
    rng = np.random.default_rng(0)
    variance = rng.normal(size=(20_000, 8)).var(-1, ddof=1)
    lo, hi = variance_interval(variance, np.full(20_000, 7.0))
    assert ((lo <= 1) & (hi >= 1)).mean() == pytest.approx(0.95, abs=0.006)
