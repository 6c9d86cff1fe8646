"""The expected best of K against integrals of 1 − F^K, and that bounds on it decide as it does itself."""

import numpy as np
import pytest
from scipy.stats import norm

from flatspot.stats.models.best_of import expected_best, gain_about, normal_gain
from flatspot.stats.models.moments import Moments
from flatspot.stats.models.parts import Parts
from flatspot.stats.models.shapes import shapes

VALUES = np.array([0.0, 0.25, 0.5, 1.0])


def random_draws(rng, *, own, rests=1):
    """20 prompts of 10 draws each: atoms, a value of the prompt's own where `own`, and normal rests."""
    weights = rng.dirichlet([0.3] * (5 + rests), (20, 10))
    weights[..., 4] *= own
    weights /= weights.sum(-1, keepdims=True)
    own_value, at, spread = rng.random((20, 10)), rng.random((20, 10, rests)), np.exp(rng.normal(-2, 0.7, (20, 10, rests)))
    mean = weights[..., :4] @ VALUES + weights[..., 4] * own_value + (weights[..., 5:] * at).sum(-1)
    none, shape = np.zeros((20, 10, 0)), np.zeros((20, 10, rests), np.int64)
    return Moments(mean, np.zeros((20, 10)), weights[..., :5], weights, own_value, at, spread**2, shape, none, none)


def parts_of(values, n_prompts=20):
    return Parts(values, np.zeros((n_prompts, len(values) + 2), np.int64), np.full(n_prompts, np.nan), (), 1.0)


def integral(draws, row, draw, k):
    """E[max of K] = top − ∫ F^K, F summed over the atoms and the normal."""
    w, own = draws.weights[row, draw], draws.own[row, draw]
    middle, spread = draws.rest_mean[row, draw, :, None], np.sqrt(draws.rest_variance[row, draw])[:, None]
    steps = np.r_[VALUES, own]
    ends = np.r_[steps, steps - 1e-12, (middle - 9 * spread)[:, 0], (middle + 9 * spread)[:, 0]]
    x = np.unique(np.r_[ends, np.linspace(min(ends), max(ends), 20_001)])
    below = w[5:] @ norm.cdf(x, middle, spread) + (w[:5, None] * (x >= steps[:, None])).sum(0)
    return x[-1] - np.trapezoid(below**k, x)


@pytest.mark.parametrize(("own", "rests"), [(0, 1), (1, 1), (1, 3)])
@pytest.mark.parametrize(("k", "least"), [(2, 0.006), (8, 0.006), (64, 0.006), (128, 0.008)])
def test_the_expected_best_is_the_integral(k, least, own, rests):
    draws = random_draws(np.random.default_rng(k), own=own, rests=rests)
    best = expected_best(draws, parts_of(VALUES), k)
    for row in range(20):
        short = integral(draws, row, 0, k) - best[row, 0]
        assert -1e-4 < short < (2 * least if rests > 2 and k > 8 else least) * np.sqrt(draws.rest_variance[row, 0].max()) + 1e-4


@pytest.mark.parametrize("k", [2, 8, 64, 1000])
def test_bounds_are_on_the_side_of_each_limit_that_the_gain_is_on(k):
    draws, limits = random_draws(np.random.default_rng(k), own=1), np.linspace(0.02, 0.5, 25)
    gain = expected_best(draws, parts_of(VALUES), k) - draws.mean
    for limit in limits:
        about = gain_about(draws, parts_of(VALUES), k, (limit,))
        np.testing.assert_array_equal(about >= limit, gain >= limit)
        assert (about != gain).mean() > 0.5  # most need no more than the bound


@pytest.mark.parametrize("k", [2, 8, 32])
def test_a_rest_alone_has_the_best_of_its_shape(k):
    """Against the maximum of k drawn from the quantiles of the shape."""
    kinds, rng = np.arange(len(shapes().names)), np.random.default_rng(k)
    shape, zero, one = kinds[:, None, None], np.zeros((len(kinds), 1)), np.ones((len(kinds), 1, 1))
    weights = np.concatenate([np.zeros((len(kinds), 1, 1)), one], -1)
    none = np.zeros((*zero.shape, 0))
    draws = Moments(zero, zero, weights[..., :1], weights, zero, zero[..., None], one, shape, none, none)
    drawn = shapes().sample(np.repeat(kinds, 20_000), k, rng).max(-1).reshape(len(kinds), -1)
    np.testing.assert_allclose(expected_best(draws, parts_of(np.zeros(0)), k)[:, 0], drawn.mean(1), atol=0.05)


def test_the_best_of_normal_rewards():
    assert normal_gain(8) == pytest.approx(1.4236003060452778, abs=0.005)
