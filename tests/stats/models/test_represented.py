"""Sets of very many graded prompts, of which some stand for all: against the model of every prompt, and against the truth."""

import numpy as np
import pytest
from scipy.special import ndtr

from flatspot.stats.decide import give_verdicts
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.intervals import equal_rewards_std_upper
from flatspot.stats.models import represented
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.represented import RepresentedModel
from flatspot.stats.zones import Odds, Zones

M, K = 6000, 8
ZONES = Zones(0.05, 0.0, 10.0)
X = np.linspace(-9, 9, 20_001)
GAIN = float(np.trapezoid(X, ndtr(X) ** K))  # E[max of 8] of standard normals


@pytest.fixture(scope="module")
def normals():
    """(evidence, truth) of prompts whose stds lie around the one at which the gain is a signal; some do not vary."""
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(3, 7, M), np.exp(rng.normal(np.log(0.25 / GAIN), 1.0, M))
    std[: M // 10] = 0.0
    rewards = mean[:, None] + std[:, None] * rng.standard_normal((M, K))
    odds = Odds((std > 0).astype(float), GAIN * std, 10 - mean)
    return evidence_of_rows(np.repeat(np.arange(M), K), rewards.ravel(), M), mean, std, odds


@pytest.fixture(scope="module")
def models(normals):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(represented, "MOST_FITTED", M // 4)
        some = RepresentedModel.fit(normals[0], np.full(M, np.nan), ZONES)
    return some, GradedModel.fit(normals[0], np.full(M, np.nan), ZONES)


def test_its_errors_are_what_it_states_and_what_the_model_of_all_has(normals, models):
    wrong = ZONES.loss(normals[3], 10.0)
    errors = []
    for model in models:
        decisions = give_verdicts(model, 0.05, worst_case=False)
        given = np.flatnonzero(decisions.decided)
        errors.append(wrong[given, decisions.best[given]].mean())
        assert errors[-1] <= decisions.predicted_error + 0.01
    assert errors[0] < errors[1] + 0.01


def test_what_is_told_of_the_set_is_what_the_model_of_all_tells(models):
    some, every = models
    np.testing.assert_allclose(some.shares[:, 0], every.shares[:, 0], atol=0.015)
    np.testing.assert_allclose(some.states.mean(0), some.shares[:, 0])
    assert (some.shares[:, 1] <= some.shares[:, 0]).all() and (some.shares[:, 0] <= some.shares[:, 2]).all()
    np.testing.assert_allclose(some.forecast((4, 16)), every.forecast((4, 16)), atol=0.03)
    for state in range(3):
        (lo, hi), (low, high) = some.set_limits(state), every.set_limits(state)
        assert lo <= low + 0.02 and hi >= high - 0.02


def test_the_limits_of_each_prompt_hold_its_own_mean_and_std(normals, models):
    evidence, mean, std, _ = normals
    some, _ = models
    lo, hi = some.limits.mean.T
    assert ((lo <= mean) & (mean <= hi)).mean() > 0.93
    assert (lo <= evidence.mean).all() and (evidence.mean <= hi).all()
    lo, hi = some.std_limits.T
    varies = std > 0
    assert ((lo <= std) & (std <= hi))[varies].mean() > 0.93
    assert (lo <= evidence.std).all() and (evidence.std <= hi).all()
    np.testing.assert_allclose(hi[~varies], equal_rewards_std_upper(evidence.mode, evidence.n, 0.0, 10.0)[~varies])


def test_a_prompt_that_is_fitted_stands_for_itself(models):
    some, _ = models
    mine = np.flatnonzero(np.bincount(some.nearest) == 1)
    assert len(np.unique(some.nearest)) == M // 4 and len(mine)
    np.testing.assert_array_equal(some.loss, some.part.loss[np.argsort(some.group)[some.nearest]])  # here each is a group of its own


def test_prompts_that_are_alike_are_judged_by_the_mean_of_those_that_are_fitted(monkeypatch):
    monkeypatch.setattr(represented, "MOST_FITTED", 300)
    rng = np.random.default_rng(0)
    rewards = np.where(np.arange(1200)[:, None] < 500, 0.0, rng.random((1200, 1)) + 0.1 * rng.standard_normal((1200, K)))
    model = RepresentedModel.fit(evidence_of_rows(np.repeat(np.arange(1200), K), rewards.ravel(), 1200), np.full(1200, np.nan), ZONES)
    fitted = model.part.evidence.std == 0
    assert fitted.sum() > 100
    for own, of_part in ((model.loss, model.part.loss), (model.states, model.part.states)):
        np.testing.assert_allclose(own[:500], np.broadcast_to(of_part[fitted].mean(0), (500, 3)))
    np.testing.assert_allclose(model.mixed(K)[:500], model.part.mixed(K)[fitted].mean())


def test_only_very_large_sets_of_many_values_are_represented(normals, monkeypatch):
    monkeypatch.setattr("flatspot.stats.models.fitted.MOST_FITTED", M - 1)
    monkeypatch.setattr(represented, "MOST_FITTED", M - 1)
    unscored = evidence_of_rows(np.repeat(np.arange(M), K), np.where(np.arange(M * K) < K, np.nan, np.arange(M * K) % 97 + 0.5), M)
    assert isinstance(fit(normals[0], np.full(M, np.nan), ZONES), RepresentedModel)
    assert isinstance(fit(unscored, np.full(M, np.nan), Zones(0.05, 0.0, 100.0)).part, GradedModel)


def test_a_subset_of_the_evidence_is_that_of_its_rows():
    rng = np.random.default_rng(0)
    x, r = np.repeat(np.arange(20), 5), rng.choice([0.0, 0.3, 1.0], 100)
    rows = rng.random(20) < 0.5
    part, again = evidence_of_rows(x, r, 20).subset(rows), evidence_of_rows((np.cumsum(rows) - 1)[x[rows[x]]], r[rows[x]], int(rows.sum()))
    for name in ("n", "mean", "std", "low", "high", "mode", "n_mode", "counts"):
        np.testing.assert_array_equal(getattr(part, name), getattr(again, name))
    np.testing.assert_array_equal(part.tally.reward, again.tally.reward)
    np.testing.assert_array_equal(part.tally.prompt, again.tally.prompt)
