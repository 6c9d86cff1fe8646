"""Pieces of the models of graded rewards, against other computations."""

import itertools

import numpy as np
import pytest

from flatspot.stats.models.dictionary import log_marginals
from flatspot.stats.models.families import variance_prior


def test_the_dirichlet_multinomial_sums_to_one_over_every_sequence():
    alpha, n = np.array([[0.3, 0.5, 1.2]]), 5
    sequences = np.array(list(itertools.product(range(3), repeat=n)))
    counts = np.stack([(sequences == v).sum(-1) for v in range(3)], -1)
    assert np.exp(log_marginals(alpha, counts)).sum() == pytest.approx(1)


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
