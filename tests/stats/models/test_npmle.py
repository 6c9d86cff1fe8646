"""The likeliest distribution, against EM run for very long, another library's optimiser, and closed forms."""

import numpy as np
import pytest
from scipy.optimize import minimize

from flatspot.stats.models.binary import GRID, likelihood
from flatspot.stats.models.npmle import likeliest


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
    g = likeliest(table, size)
    assert g.sum() == pytest.approx(1)
    assert (g > 0).all()
    assert height(table, size, g) >= height(table, size, by_em(table, size, 20_000)) - 0.002


def test_em_as_long_as_it_is_run_elsewhere_leaves_more_than_a_limit_may():
    """Why this is not EM: after 300 steps two clumps in 20,000 prompts are still less likely by more than the drop of a 95% limit."""
    table, size = counted(np.random.default_rng(0).choice([0.02, 0.3], 20_000), 8, 0)
    assert height(table, size, likeliest(table, size)) > height(table, size, by_em(table, size, 300)) + 1.921


@pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")  # of scipy 1.13
def test_against_a_general_optimiser():
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
    assert height(table, size, likeliest(table, size)) == pytest.approx(-found.fun, abs=2e-3)


def test_from_a_start_it_arrives_at_the_same():
    table, size = counted(np.random.default_rng(1).random(500), 8, 1)
    far = np.full(len(GRID), 1 / len(GRID))
    assert height(table, size, likeliest(table, size, start=far)) == pytest.approx(height(table, size, likeliest(table, size)), abs=0.01)


def test_thousands_of_samples_do_not_underflow():
    table, size = counted(np.array([0.001, 0.5, 0.999] * 5), 2000, 0)
    g = likeliest(table, size)
    assert np.isfinite(g).all()
    assert g @ GRID == pytest.approx(0.5, abs=0.05)
