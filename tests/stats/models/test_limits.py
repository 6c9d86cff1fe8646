"""The 95% limits of mean, mixed groups and gain cover the truth of the benchmark's populations.

Those of binary rewards are exact, so they cover at least 95% of every prompt; those of graded rewards are quantiles of the posterior, so
where the model is right they cover 95% over the set. Where a shape or the prior is off they do not: benchmarks/claims/README.md.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.limits import binary_limits
from flatspot.stats.zones import Zones

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "triage"))

from populations import BINARY, OTHER

M = 1000
ALLOWED = 0.95 - 3 * np.sqrt(0.05 * 0.95 / M)
MODEL_HOLDS = ("few-valued, three kinds", "few-valued, one Dirichlet", "zero-inflated")


def coverage(draw, mean, odds, n, low, high):
    """Shares of prompts whose mean, mixed share and gain lie within their limits."""
    rewards = draw(np.arange(M), n)
    evidence = evidence_of_rows(np.repeat(np.arange(M), n), rewards.ravel(), M)
    limits = fit(evidence, np.full(M, np.nan), Zones(0.05, low, high)).limits
    pairs = ((limits.mean, mean), (limits.mixed, odds.mixed), (limits.gain, odds.gain))
    return [float(((lim[:, 0] - 1e-9 <= truth) & (truth <= lim[:, 1] + 1e-9)).mean()) for lim, truth in pairs]


@pytest.mark.parametrize("k", [2, 8, 64])
@pytest.mark.parametrize("n", [4, 16, 64])
def test_of_every_binary_prompt_by_enumeration(n, k):
    hits, p = np.arange(n + 1), np.linspace(0, 1, 401)
    limits = binary_limits(hits, np.full(n + 1, n), 0.0, 1.0, k)
    truth, chance = zero_one(p, k), binom.pmf(hits, n, p[:, None])
    for lim, value in ((limits.mean, p), (limits.mixed, truth.mixed), (limits.gain, truth.gain)):
        inside = (lim[:, 0] - 1e-9 <= value[:, None]) & (value[:, None] <= lim[:, 1] + 1e-9)
        assert (inside * chance).sum(-1).min() >= 0.95 - 1e-9


@pytest.mark.thorough
@pytest.mark.parametrize("n", [4, 8, 16, 64])
@pytest.mark.parametrize("name", BINARY)
def test_of_binary_populations(name, n):
    rng = np.random.default_rng(0)
    p = BINARY[name](M, rng)
    assert min(coverage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), p, zero_one(p), n, 0.0, 1.0)) >= ALLOWED


@pytest.mark.thorough
@pytest.mark.parametrize("n", [4, 8, 16, 64])
@pytest.mark.parametrize("name", MODEL_HOLDS)
def test_of_graded_populations_that_the_model_fits(name, n):
    rewards = OTHER[name](M, np.random.default_rng(0))
    assert min(coverage(rewards.draw, rewards.mean, rewards.odds, n, rewards.low, rewards.high)) >= ALLOWED
