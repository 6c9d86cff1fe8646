"""Pieces of the few-valued and continuous models against other computations."""

import itertools

import numpy as np
import pytest
from scipy import stats

from flatspot.stats.continuous import variance_prior
from flatspot.stats.few_valued import _log_marginal, fit_prior


def test_the_dirichlet_multinomial_sums_to_one_over_every_sequence():
    prior, n = np.array([0.3, 0.5, 1.2]), 5
    sequences = np.array(list(itertools.product(range(3), repeat=n)))
    counts = np.stack([(sequences == v).sum(-1) for v in range(3)], -1)
    assert np.exp(_log_marginal(counts, prior)).sum() == pytest.approx(1)


def test_with_two_values_it_is_scipys_beta_binomial():
    counts = np.array([[3, 7]])
    ours = np.exp(_log_marginal(counts, np.array([0.8, 1.5])))[0]
    theirs = stats.betabinom.pmf(3, 10, 0.8, 1.5) / stats.binom.pmf(3, 10, 0.5) * 0.5**10
    assert ours == pytest.approx(theirs)


def test_the_prior_is_recovered_from_many_prompts():
    rng = np.random.default_rng(0)
    truth = np.array([0.9, 0.4, 0.7])
    counts = np.stack([rng.multinomial(20, w) for w in rng.dirichlet(truth, 4000)])
    centre, concentration = fit_prior(counts)
    np.testing.assert_allclose(centre * concentration.mean(), truth, rtol=0.15)
    assert concentration.std() < 0.1 * concentration.mean()


def test_one_sample_a_prompt_says_nothing_of_the_concentration():
    _, concentration = fit_prior(np.eye(3, dtype=np.int64)[np.random.default_rng(0).integers(0, 3, 60)])
    assert concentration.min() < 0.05
    assert concentration.max() > 30


@pytest.mark.parametrize(("d0", "s0"), [(4.0, 0.01), (20.0, 2.0)])
def test_the_variance_prior_is_recovered(d0, s0):
    rng = np.random.default_rng(0)
    variance = d0 * s0 / rng.chisquare(d0, 20_000)
    sample = variance * rng.chisquare(7, 20_000) / 7
    found_d0, found_s0 = variance_prior(sample, np.full(20_000, 7.0))
    assert found_d0 == pytest.approx(d0, rel=0.12)
    assert found_s0 == pytest.approx(s0, rel=0.05)


def test_too_few_variances_pool_nothing():
    assert variance_prior(np.array([0.1, 0.0]), np.array([3.0, 3.0])) == (0.0, 0.0)
