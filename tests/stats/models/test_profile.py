"""Limits by profile likelihood, against closed forms and a general convex solver."""

import numpy as np
import pytest
from scipy import optimize, stats
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.binary import mixed_at
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.npmle import GRID, likelihood
from flatspot.stats.models.profile import _WIDEN, profile
from flatspot.stats.zones import Zones, epsilon_for_group

pytestmark = pytest.mark.thorough

UPPER = np.greater(GRID, 0.5)[None] * 1.0


def largest(n, hits, size, f, drop):
    """The largest mean of f whose best likelihood is within `drop` of the best, by SLSQP on a coarse grid."""
    keep = np.r_[0, np.arange(1, 162, 4), 162]
    table = likelihood(n, hits)[:, keep]

    def fall(weights):
        return -float(size @ np.log(np.maximum(table @ weights, 1e-300)))

    start, bounds = np.full(len(keep), 1 / len(keep)), [(0, 1)] * len(keep)
    whole = {"type": "eq", "fun": lambda w: w.sum() - 1}
    best = optimize.minimize(fall, start, bounds=bounds, constraints=[whole], method="SLSQP", options={"maxiter": 500})
    within = {"type": "ineq", "fun": lambda w: best.fun + drop - fall(w)}
    found = optimize.minimize(
        lambda w: -float(f[keep] @ w), best.x, bounds=bounds, constraints=[whole, within], method="SLSQP", options={"maxiter": 500}
    )
    return -found.fun


def test_a_share_seen_in_no_prompt_has_the_limit_of_a_binomial():
    n, hits, size = np.array([40]), np.array([0]), np.array([200])
    upper = profile(n, hits, size, UPPER)[0].draws(np.array([1.645]))[0]
    drop = (_WIDEN * 1.645) ** 2 / 2
    central = 0.5 / 201  # half of the pseudo-prompt lies above 1/2
    assert upper == pytest.approx(1 - (1 - central) * np.exp(-drop / 200), rel=0.01)  # ((1 - v) / (1 - central))^200 = exp(-drop)


def test_prompts_that_are_plainly_of_two_kinds_have_the_limits_of_a_binomial_share():
    n, hits, size = np.array([60, 60]), np.array([0, 60]), np.array([70, 30])
    lo, hi = profile(n, hits, size, UPPER)[0].draws(np.array([-1.645, 1.645]))
    drop = (_WIDEN * 1.645) ** 2 / 2

    def beyond(v):
        return 30 * np.log(0.3 / v) + 70 * np.log(0.7 / (1 - v)) - drop

    assert lo == pytest.approx(optimize.brentq(beyond, 0.1, 0.3), abs=0.01)
    assert hi == pytest.approx(optimize.brentq(beyond, 0.3, 0.6), abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_the_limit_is_that_of_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 1.5, 120)
    n, hits, size = np.full(5, 4), np.arange(5), np.bincount(rng.binomial(4, p), minlength=5)
    f = mixed_at(16)
    upper = profile(n, hits, size, f[None])[0].draws(np.array([1.645]))[0]
    exact = largest(n, hits, size, f, (_WIDEN * 1.645) ** 2 / 2)
    assert exact - 0.01 <= upper <= exact + 0.01


def test_one_sample_a_prompt_leaves_open_whether_any_group_is_mixed():
    n, hits, size = np.array([1, 1]), np.array([0, 1]), np.array([500, 500])
    lo, hi = profile(n, hits, size, mixed_at(8)[None])[0].draws(np.array([-1.645, 1.645]))
    assert lo < 0.05
    assert hi > 0.95


def test_the_limits_hold_as_often_as_they_say():
    """40 sets of 100 prompts with 4 samples each, groups of 32: refits to reweighted prompts held in about half of such sets."""
    many = np.random.default_rng(5).beta(1, 30, 200_000)
    f, held = mixed_at(32), []
    truth = (1 - many**32 - (1 - many) ** 32).mean()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        size = np.bincount(rng.binomial(4, rng.beta(1, 30, 100)), minlength=5)
        lo, hi = profile(np.full(5, 4), np.arange(5), size, f[None])[0].draws(np.array([-1.645, 1.645]))
        held.append(lo <= truth <= hi)
    assert stats.binom.cdf(sum(held), 40, 0.9) > 0.001


def test_all_prompts_alike_leave_no_point():
    middle, upper = profile(np.array([4]), np.array([4]), np.array([3]), mixed_at(8)[None])[0].draws(np.array([0.0, 1.645]))
    assert upper - middle > 0.2


def test_two_prompts_tell_next_to_nothing_of_others():
    n, hits, size = np.array([60, 60]), np.array([0, 60]), np.array([1, 1])
    lo, hi = profile(n, hits, size, UPPER)[0].draws(np.array([-1.645, 1.645]))
    drop = (_WIDEN * 1.645) ** 2 / 2  # 4 v (1 - v) = exp(-drop)
    assert lo == pytest.approx(0.5 - 0.5 * np.sqrt(1 - np.exp(-drop)), abs=0.05)
    assert hi == pytest.approx(0.5 + 0.5 * np.sqrt(1 - np.exp(-drop)), abs=0.05)


POPULATIONS = {
    "crowded under the threshold": lambda rng, m: np.where(rng.random(m) < 0.6, 0.04, 0.5),
    "all under it": lambda rng, m: np.full(m, 0.03),
    "on both sides": lambda rng, m: rng.choice([0.02, 0.12, 0.98], m),
    "none near it": lambda rng, m: np.where(rng.random(m) < 0.5, 0.0, 0.11),
    "smooth": lambda rng, m: rng.beta(0.25, 1, m),
    "rarely right": lambda rng, m: np.minimum(np.exp(rng.normal(-3.5, 1.5, m)), 1.0),
}


@pytest.mark.parametrize("k", [4, 8, 16])
@pytest.mark.parametrize("name", POPULATIONS)
def test_limits_of_a_share_hold_where_prompts_crowd_at_a_threshold(name, k):
    """20 sets of 300 prompts; refits to reweighted prompts held in none of those of 1,000 crowded under the threshold."""
    zones, population = Zones(epsilon_for_group(8)), POPULATIONS[name]
    states = zones.states(zero_one(population(np.random.default_rng(5), 400_000)), 1.0).mean(0)
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hits = rng.binomial(k, population(rng, 300))
        rewards = (np.arange(k) < hits[:, None]).astype(float).ravel()
        limits = fit(evidence_of_rows(np.repeat(np.arange(300), k), rewards, 300), np.full(300, np.nan), zones).shares[:, 1:]
        held.append((limits[:, 0] - 1e-9 <= states) & (states <= limits[:, 1] + 1e-9))
    assert stats.binom.cdf(np.sum(held, axis=0), 20, 0.95).min() > 0.001


def test_the_ends_of_a_share_are_closed_forms():
    """All zeros: that p lies under 1/2 nothing contradicts; that none does costs 8 log 2 a prompt."""
    below = np.less(GRID, 0.5)[None] * 1.0
    path = profile(np.array([8]), np.array([0]), np.array([3]), below)[0]
    assert path.ends[1] == pytest.approx(0, abs=0.1)
    assert path.ends[0] == pytest.approx(-np.sqrt(2 * 3 * 8 * np.log(1 / (1 - GRID[GRID >= 0.5][0]))), rel=0.01)
    assert path.limits(1.96)[1] == 1.0 and path.limits(1.96)[0] > 0
    assert path.limits(99.0) == (0.0, 1.0)
    assert profile(np.array([8]), np.array([0]), np.array([3]), mixed_at(8)[None])[0].ends == (-np.inf, np.inf)
