"""Readiness against enumeration of groups, and shares against sampling."""

import numpy as np
import pytest
from scipy.stats import binom

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.readiness import chance_of_best, readiness, stratum_weights, weighted_share
from flatspot.stats.zones import Zones

ZONES = Zones(0.05)


def evidence(p, n, rng):
    hits = rng.binomial(n, p)
    rewards = np.concatenate([np.r_[np.ones(h), np.zeros(n - h)] for h in hits])
    return evidence_of_rows(np.repeat(np.arange(len(p)), n), rewards, len(p)), hits


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


def test_readiness_is_the_chance_of_a_success_in_a_group():
    rng = np.random.default_rng(0)
    p = rng.choice([0.0, 0.02, 0.3, 0.9], 400)
    found = readiness(evidence(p, 64, rng)[0], np.ones(400), ZONES, 8)
    truth = 1 - binom.pmf(0, 8, p)
    assert found.mean.mean() == pytest.approx(truth.mean(), abs=0.02)
    inside = np.abs(found.mean - truth) < 3 * np.sqrt(found.variance) + 0.02
    assert inside.mean() > 0.97


def test_the_variance_is_what_drawing_again_moves():
    rng = np.random.default_rng(0)
    p = np.repeat([0.02, 0.1, 0.3], 40)
    weights = np.full(120, 1 / 120)
    shares = [readiness(evidence(p, 16, rng)[0], np.ones(120), ZONES, 8) for _ in range(40)]
    said = np.mean([np.sqrt((weights**2 * found.variance).sum()) for found in shares])
    moved = np.std([found.mean.mean() for found in shares], ddof=1)
    assert 0.6 < said / moved < 2


def test_graded_rewards_are_ready_where_their_reach_is_short():
    rng = np.random.default_rng(0)
    near, far = rng.normal(0.7, 0.2, (30, 32)).clip(0, 1), rng.normal(0.2, 0.02, (30, 32)).clip(0, 1)
    rewards = np.concatenate([near, far])
    found = readiness(evidence_of_rows(np.repeat(np.arange(60), 32), rewards.reshape(-1), 60), np.ones(60), ZONES, 8)
    assert found.mean[:30].min() > 0.7 and found.mean[30:].max() < 0.1
    easier = readiness(evidence_of_rows(np.repeat(np.arange(60), 32), rewards.reshape(-1), 60), np.full(60, 0.22), ZONES, 8)
    assert easier.mean.min() > 0.9  # 0.22 is all that can be had: the far ones are there


def test_prompts_without_a_reward_have_none():
    found = readiness(evidence_of_rows(np.array([0, 0]), np.array([1.0, 0.0]), 3), np.ones(3), ZONES, 8)
    assert np.isnan(found.mean).tolist() == [False, True, True]


def test_shares_stand_for_the_run_whose_strata_were_probed_unevenly():
    stratum, of_run = np.repeat([0, 1, 2], [30, 8, 2]), np.array([0.2, 0.5, 0.3])
    weights = stratum_weights(stratum, of_run)
    assert [weights[stratum == s].sum() for s in range(3)] == pytest.approx(of_run)
    share = weighted_share(np.r_[np.zeros(30), np.ones(10)], stratum, of_run)
    assert share.mean == pytest.approx(0.8)
    only = stratum_weights(np.zeros(4, np.int64), of_run)
    assert only.tolist() == [0.25] * 4  # strata that nobody probed are left out


def test_limits_hold_the_share_of_the_whole_run():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        truth = rng.uniform(0.05, 0.95, 2)
        p = np.r_[(rng.random(30) < truth[0]), (rng.random(10) < truth[1])].astype(float)
        share = weighted_share(p, np.repeat([0, 1], [30, 10]), np.array([0.6, 0.4]))
        inside += share.lo <= 0.6 * truth[0] + 0.4 * truth[1] <= share.hi
    assert inside / 300 > 0.92
