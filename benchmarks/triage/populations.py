"""Populations of prompts whose truth is known: success probabilities of binary rewards, samplers and odds of groups of 8 of the others.

Odds are exact: sums over the values of few-valued rewards, integrals of 1 - F^8 over a fine grid of continuous ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import gammainc, ndtr
from scipy.stats import beta as beta_law

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "stats"))

from truth import joined, of_cdf, of_normal, of_weights

from flatspot.stats.zones import Odds


def _mixture(rng, m, *parts):
    """m values: each part is (share, sampler of m values)."""
    u, edges = rng.random(m), np.cumsum([share for share, _ in parts])
    values = np.stack([sample(m) for _, sample in parts])
    return values[np.minimum(np.searchsorted(edges, u), len(parts) - 1), np.arange(m)]


def _point(p):
    return lambda m: np.full(m, p)


BINARY = {
    "hard": lambda m, r: _mixture(r, m, (0.4, _point(0.0)), (0.1, _point(1.0)), (0.5, lambda n: r.beta(0.6, 1.2, n))),
    "easy": lambda m, r: _mixture(r, m, (0.1, _point(0.0)), (0.45, _point(0.995)), (0.45, r.random)),
    "no atoms": lambda m, r: r.beta(0.25, 1, m),
    "all hopeless": lambda m, r: _mixture(r, m, (0.9, _point(0.0)), (0.1, lambda n: r.beta(0.5, 3, n))),
    "mostly learnable": lambda m, r: r.beta(2, 2, m),
    "u-shaped": lambda m, r: r.beta(0.15, 0.15, m),
    "saturated": lambda m, r: _mixture(r, m, (0.7, _point(1.0)), (0.3, lambda n: r.beta(4, 1, n))),
    "two clumps": lambda m, r: _mixture(r, m, (0.5, _point(0.02)), (0.5, _point(0.3))),
    "at the threshold": lambda m, r: _mixture(r, m, (0.3, _point(0.02)), (0.3, _point(0.12)), (0.4, lambda n: r.beta(1, 1, n))),
    "rarely right": lambda m, r: np.minimum(np.exp(r.normal(-3.5, 1.5, m)), 1.0),
    "0 or .11": lambda m, r: _mixture(r, m, (0.5, _point(0.0)), (0.5, _point(0.11))),
    "thirds at the limits": lambda m, r: _mixture(r, m, (1 / 3, _point(0.02)), (1 / 3, _point(0.12)), (1 / 3, _point(0.98))),
    ".04 or .5": lambda m, r: _mixture(r, m, (0.6, _point(0.04)), (0.4, _point(0.5))),
    ".90 to .97": lambda m, r: r.uniform(0.90, 0.97, m),
    "95% vanishing": lambda m, r: _mixture(r, m, (0.95, _point(0.0)), (0.05, r.random)),
}

# many prompts on one side of a threshold, close to it, which few completions cannot tell from prompts on both sides
CROWDED = {
    ".04 and .5": lambda m, r: _mixture(r, m, (0.6, _point(0.04)), (0.4, _point(0.5))),
    ".045 and .5": lambda m, r: _mixture(r, m, (0.28, _point(0.045)), (0.72, _point(0.5))),
    ".04 and .28": lambda m, r: _mixture(r, m, (0.6, _point(0.04)), (0.4, _point(0.28))),
    ".02, .12 and .98": lambda m, r: r.choice([0.02, 0.12, 0.98], m),
    "0 and .11": lambda m, r: _mixture(r, m, (0.5, _point(0.0)), (0.5, _point(0.11))),
    "log-normal": lambda m, r: np.minimum(np.exp(r.normal(-2.5, 1.0, m)), 1.0),
    "all in .03 to .08": lambda m, r: r.uniform(0.03, 0.08, m),
    "all at .03": lambda m, r: np.full(m, 0.03),
    "all at .97": lambda m, r: np.full(m, 0.97),
    ".02 and .101": lambda m, r: _mixture(r, m, (0.8, _point(0.02)), (0.2, _point(0.101))),
}


def _in_tasks(between, within):
    """[tasks, prompts] whose logits are normal about their task's, which is normal about 0.5."""
    return lambda tasks, each, r: 1 / (1 + np.exp(-r.normal(0.5, between, (tasks, 1)) - r.normal(0, within, (tasks, each))))


# prompts that come in tasks, more alike within one than between two
TASKS = {
    "hard and easy tasks": _in_tasks(3.0, 1.0),
    "tasks of all kinds": _in_tasks(2.0, 2.0),
    "tasks alike": _in_tasks(0.3, 2.5),
    "a fifth of the tasks out of reach": lambda tasks, each, r: np.where(r.random((tasks, 1)) < 0.2, 0.0, r.beta(2, 2, (tasks, each))),
}


@dataclass(frozen=True)
class Rewards:
    """A set of prompts with rewards of any kind: how to draw, the true mean of each and odds of its groups of 8, and the range."""

    draw: Callable
    mean: np.ndarray
    odds: Odds
    low: float = 0.0
    high: float = 1.0


def _categorical(values, weights, rng):
    edges = np.cumsum(weights, 1)
    edges[:, -1] = 1.0

    def draw(i, k):
        return values[(rng.random((len(i), k, 1)) > edges[i][:, None]).sum(-1)]

    return Rewards(draw, weights @ values, of_weights(values, weights))


def few_valued(m, rng):
    values, kinds = np.array([0.0, 0.25, 0.5, 1.0]), np.array([[5, 0.05, 0.02, 0.01], [0.05, 0.05, 0.1, 5], [1, 1, 1, 1.0]])
    weights = rng.standard_gamma(kinds[rng.integers(0, 3, m)])
    return _categorical(values, weights / weights.sum(1, keepdims=True), rng)


def one_dirichlet(m, rng):
    return _categorical(np.array([0.0, 0.5, 1.0]), rng.dirichlet([0.6, 0.3, 0.3], m), rng)


def normal(m, rng):
    mean, std = rng.uniform(0.1, 0.9, m), np.minimum(np.exp(rng.normal(-2.3, 0.8, m)), 0.3)

    def draw(i, k):
        return mean[i, None] + std[i, None] * rng.standard_normal((len(i), k))

    return Rewards(draw, mean, of_normal(mean, std, top=2.0), -1.0, 2.0)


def beta(m, rng):
    mean, n = rng.uniform(0.1, 0.95, m), np.exp(rng.normal(2.5, 1.2, m))
    a, b = (mean * n)[:, None], ((1 - mean) * n)[:, None]
    odds = of_cdf(lambda x: beta_law.cdf(x, a, b), np.zeros(m), mean)
    return Rewards(lambda i, k: rng.beta(a[i], b[i], (len(i), k)), mean, odds)


def zero_inflated(m, rng):
    q, c = np.where(rng.random(m) < 0.3, 0, rng.beta(0.4, 1, m)), rng.uniform(0.3, 0.9, m)
    a, b = 15 * c[:, None], 15 * (1 - c)[:, None]

    def draw(i, k):
        return np.where(rng.random((len(i), k)) < q[i, None], rng.beta(a[i], b[i], (len(i), k)), 0.0)

    return Rewards(draw, q * c, of_cdf(lambda x: 1 - q[:, None] * beta_law.sf(x, a, b), 1 - q, q * c))


def noisy_two_point(m, rng):
    p = np.where(rng.random(m) < 0.4, 0, rng.beta(0.6, 1.2, m))

    def draw(i, k):
        return np.where(rng.random((len(i), k)) < p[i, None], 0.9, 0.1) + 0.01 * rng.standard_normal((len(i), k))

    def cdf(x):
        return (1 - p[:, None]) * ndtr((x - 0.1) / 0.01) + p[:, None] * ndtr((x - 0.9) / 0.01)

    mean = 0.1 + 0.8 * p
    return Rewards(draw, mean, replace(of_cdf(cdf, np.zeros(m), mean), headroom=2.0 - mean), -1.0, 2.0)


def skewed(m, rng):
    scale = np.exp(rng.normal(-2.5, 1.0, m))
    shape = 0.3  # r = 1 - exp(-x), x from a gamma with a long right tail

    def draw(i, k):
        return 1 - np.exp(-rng.gamma(shape, scale[i, None] / shape, (len(i), k)))

    mean = 1 - (1 + scale / shape) ** -shape
    with np.errstate(divide="ignore"):  # at r = 1
        odds = of_cdf(lambda r: gammainc(shape, -np.log1p(-r) / (scale[:, None] / shape)), np.zeros(m), mean)
    return Rewards(draw, mean, odds)


def families(m, rng):
    cut = [0, m // 3, 2 * (m // 3), m]
    parts = [f(b - a, rng) for f, a, b in zip((few_valued, beta, zero_inflated), cut, cut[1:], strict=False)]

    def draw(i, k):
        out = np.empty((len(i), k))
        for part, a, b in zip(parts, cut, cut[1:], strict=False):
            mine = (i >= a) & (i < b)
            if mine.any():
                out[mine] = part.draw(i[mine] - a, k)
        return out

    return Rewards(draw, np.concatenate([x.mean for x in parts]), joined(*(x.odds for x in parts)))


OTHER = {
    "few-valued, three kinds": few_valued,
    "few-valued, one Dirichlet": one_dirichlet,
    "normal": normal,
    "beta": beta,
    "zero-inflated": zero_inflated,
    "two-point with noise": noisy_two_point,
    "skewed": skewed,
    "a mixture of families": families,
}
