"""Shapes and stds of continuous rewards, against integrals on a fine grid and against what was drawn."""

import numpy as np
import pytest
from scipy import stats

from flatspot.stats.models.rest import fit_rest
from flatspot.stats.models.shapes import CUTS, STEP, Z, shapes


def fitted(rewards, span=1.0):
    m, n = rewards.shape
    return fit_rest(np.repeat(np.arange(m), n), rewards.ravel(), m, span)


def test_every_shape_has_mean_0_and_std_1():
    of = shapes()
    np.testing.assert_allclose(of.density.sum(1) * STEP, 1, atol=1e-3)
    np.testing.assert_allclose((of.density * Z).sum(1) * STEP, 0, atol=1e-3)
    np.testing.assert_allclose((of.density * Z**2).sum(1) * STEP, 1, atol=0.03)
    mean, share = of.strata(CUTS)
    assert (np.diff(mean, axis=1) >= -1e-9).all()
    np.testing.assert_allclose(mean @ share, 0, atol=1e-3)


@pytest.mark.parametrize("name", ["normal", "right 1", "bumps 0.25"])
def test_the_likelihood_is_the_integral_over_the_mean(name):
    """Ratios between stds of one shape: ∫ prod phi((x - m) / s) / s dm by quad, with the density between its tabulated points."""
    x, h = np.array([[0.1, 0.35, 0.4, 0.9]]), shapes().names.index(name)
    rest = fitted(np.concatenate([x, x + 0.01]))

    def integral(s):
        m = np.linspace(x.min() - 6 * s, x.max() + 6 * s, 40_001)
        log = np.interp((x[0] - m[:, None]) / s, Z, shapes().log_density[h]).sum(1)
        return np.trapezoid(np.exp(log), m) / s**x.size

    at = [len(rest.scales) // 3, len(rest.scales) // 2, 2 * len(rest.scales) // 3]
    theirs = np.array([integral(rest.scales[i]) for i in at])
    np.testing.assert_allclose(rest.like[0, h, at] / rest.like[0, h, at[1]], theirs / theirs[1], rtol=0.12 if name != "bumps 0.25" else 0.3)


def test_the_distribution_of_stds_is_recovered():
    rng = np.random.default_rng(0)
    rest = fitted(np.repeat([0.01, 0.3], 200)[:, None] * rng.standard_normal((400, 8)), 3.0)
    of_std = rest.pi.mean(0).sum(0)
    low, high = (of_std[(rest.scales > s / 1.8) & (rest.scales < s * 1.8)].sum() for s in (0.01, 0.3))
    assert low > 0.35 and high > 0.35


@pytest.mark.parametrize(("law", "names"), [(stats.norm(), ("normal",)), (stats.gamma(1), ("right 1", "right 0.3", "right 3"))])
def test_the_shape_is_recovered(law, names):
    rest = fitted(law.rvs((200, 16), random_state=np.random.default_rng(0)))
    assert sum(rest.pi.mean(0)[shapes().names.index(name)].sum() for name in names) > 0.75


@pytest.mark.thorough
@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize(
    "law",
    [stats.norm(), stats.uniform(), stats.gamma(0.7), stats.beta(0.5, 0.5), stats.t(4), stats.gamma(2)],
    ids=lambda law: law.dist.name,
)
def test_limits_of_mean_and_std_cover(law, n):
    rng = np.random.default_rng(n)
    mean, std = rng.normal(0, 1, 300), np.exp(rng.normal(-2, 0.7, 300))
    rest = fitted(mean[:, None] + std[:, None] * (law.rvs((300, n), random_state=rng) - law.mean()) / law.std(), 3.0)
    means, variances, _ = rest.draw(np.arange(300), 400, rng)
    for truth, draws in ((mean, means), (std, np.sqrt(variances))):
        lo, hi = np.quantile(draws, [0.025, 0.975], axis=1)
        assert ((lo <= truth) & (truth <= hi)).mean() >= 0.9


def test_a_shape_that_no_mixture_has_is_found_out():
    """Three sharp points a long way apart, as many on each."""
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 3, (300, 12)) + 1e-3 * rng.standard_normal((300, 12))
    assert fitted(odd).fit[0] > 0.1
    assert fitted(rng.standard_normal((300, 12))).fit[0] == 0


def test_a_prompt_without_rewards_here_is_like_the_others():
    rng = np.random.default_rng(0)
    rest = fit_rest(np.repeat(np.arange(50), 8), 5 + 0.1 * rng.standard_normal(400), 51, 10.0)
    mean, variance, _ = rest.draw(np.array([50]), 400, rng)
    assert abs(mean.mean() - 5) < 0.1 and 0.05 < np.sqrt(variance).mean() < 0.2


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_rewards(n):
    rest = fit_rest(np.zeros(n, int), np.linspace(0, 1, n), 2, 1.0)
    for column in rest.draw(np.array([0, 1]), 5, np.random.default_rng(0)):
        assert np.isfinite(column).all()
