"""The mixing distribution: the smoothed fit against the truth and Bayes' rule, the NPMLE against long EM and a general optimizer."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from flatspot.stats.models.npmle import GRID, fit_mixture, fit_npmle, likelihood


def height(table, size, g, pseudo=1.0):
    return float(size @ np.log(table @ g) + pseudo / len(g) * np.log(np.maximum(g, 1e-300)).sum())


def by_em(table, size, steps, pseudo=1.0):
    g = np.full(table.shape[1], 1 / table.shape[1])
    for _ in range(steps):
        g = g * ((size / (table @ g)) @ table) + pseudo / len(g)
        g /= g.sum()
    return g


def counted(p, n, seed):
    ones, size = np.unique(np.random.default_rng(seed).binomial(n, p), return_counts=True)
    table = likelihood(np.full(len(ones), n), ones)
    return table / table.max(-1, keepdims=True), size.astype(float)


@pytest.mark.parametrize("m", [1, 30, 1000, 100_000])
@pytest.mark.parametrize("kind", ["clumps", "spread", "all zero", "all one"])
def test_no_less_likely_than_em_run_for_very_long(kind, m):
    rng = np.random.default_rng(m)
    p = {"clumps": rng.choice([0.02, 0.3], m), "spread": rng.random(m), "all zero": np.zeros(m), "all one": np.ones(m)}[kind]
    table, size = counted(p, 8, 0)
    g = fit_npmle(table, size)
    assert g.sum() == pytest.approx(1)
    assert (g > 0).all()
    assert height(table, size, g) >= height(table, size, by_em(table, size, 20_000)) - 0.002


def test_em_as_long_as_it_is_run_elsewhere_leaves_more_than_a_limit_may():
    """Why this is not EM: after 300 steps two clumps in 20,000 prompts are still less likely by more than the drop of a 95% limit."""
    table, size = counted(np.random.default_rng(0).choice([0.02, 0.3], 20_000), 8, 0)
    assert height(table, size, fit_npmle(table, size)) > height(table, size, by_em(table, size, 300)) + 1.921


@pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")  # of scipy 1.13
def test_against_a_general_optimizer():
    """SLSQP over the simplex, on every tenth point of the grid."""
    ones = np.arange(5)
    points = GRID[::10]
    table, size = points ** ones[:, None] * (1 - points) ** (4 - ones[:, None]), np.array([40.0, 5.0, 9.0, 3.0, 20.0])
    found = minimize(
        lambda g: -height(table, size, g),
        np.full(len(points), 1 / len(points)),
        method="SLSQP",
        bounds=[(1e-9, 1)] * len(points),
        constraints={"type": "eq", "fun": lambda g: g.sum() - 1},
        options={"maxiter": 2000, "ftol": 1e-12},
    )
    assert height(table, size, fit_npmle(table, size)) == pytest.approx(-found.fun, abs=2e-3)


def test_from_a_start_it_arrives_at_the_same():
    table, size = counted(np.random.default_rng(1).random(500), 8, 1)
    far = np.full(len(GRID), 1 / len(GRID))
    assert height(table, size, fit_npmle(table, size, start=far)) == pytest.approx(height(table, size, fit_npmle(table, size)), abs=0.01)


def test_thousands_of_samples_do_not_underflow():
    table, size = counted(np.array([0.001, 0.5, 0.999] * 5), 2000, 0)
    g = fit_npmle(table, size)
    assert np.isfinite(g).all()
    assert g @ GRID == pytest.approx(0.5, abs=0.05)


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
