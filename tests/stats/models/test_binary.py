import numpy as np
import pytest
from scipy import stats

from flatspot.stats.models.binary import GRID, fit_mixture, likelihood


def population(name, m, rng):
    u = rng.random(m)
    return {
        "hard": np.where(u < 0.4, 0.0, np.where(u < 0.5, 1.0, rng.beta(0.6, 1.2, m))),
        "easy": np.where(u < 0.1, 0.0, np.where(u < 0.55, 0.995, rng.random(m))),
        "no atoms": rng.beta(0.25, 1, m),
    }[name]


def test_likelihood_is_scipys_up_to_the_binomial_coefficient():
    n, hits = np.array([5, 7, 3]), np.array([0, 3, 3])
    ours = likelihood(n, hits)
    theirs = stats.binom.pmf(hits[:, None], n[:, None], GRID[None])
    np.testing.assert_allclose(ours, theirs / theirs.max(-1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("name", ["hard", "easy", "no atoms"])
def test_the_fit_is_at_least_as_likely_as_the_truth(name):
    """A maximum-likelihood fit beats the distribution the data came from, on that data, but for its small smoothing."""
    rng = np.random.default_rng(3)
    p = population(name, 2000, rng)
    hits = rng.binomial(16, p)
    mixture, _ = fit_mixture(np.full(2000, 16), hits)
    truth, _ = np.histogram(population(name, 200_000, rng), bins=np.r_[-1, (GRID[1:] + GRID[:-1]) / 2, 2])
    pmf = stats.binom.pmf(mixture.hits[:, None], 16, GRID[None])
    fitted, true = mixture.size @ np.log(pmf @ mixture.weights), mixture.size @ np.log(pmf @ (truth / truth.sum()))
    assert fitted > true - 0.02 * 2000 * 0.05


def test_posterior_by_bayes_rule():
    mixture, pair = fit_mixture(np.full(300, 8), np.repeat([0, 4, 8], 100))
    i = pair[150]
    by_hand = mixture.weights * stats.binom.pmf(4, 8, GRID)
    np.testing.assert_allclose(mixture.posterior(np.array([i]))[0], by_hand / by_hand.sum(), atol=1e-12)


def test_one_prompt_does_not_vouch_for_itself():
    """Under leave-one-out a set of one is judged under the flat prior: P(p >= 0.1 | 0 of 16) is then close to 0.9^17."""
    mixture, pair = fit_mixture(np.array([16]), np.array([0]))
    found = mixture.posterior(pair)[0][GRID >= 0.1].sum()
    assert found == pytest.approx(0.9**17, abs=0.03)


def test_the_fit_mirrors_when_ones_and_zeros_swap():
    rng = np.random.default_rng(0)
    n, hits = np.full(500, 12), rng.binomial(12, population("hard", 500, rng))
    ours, _ = fit_mixture(n, hits)
    mirrored, _ = fit_mixture(n, n - hits)
    np.testing.assert_allclose(ours.weights, mirrored.weights[::-1], atol=1e-9)
