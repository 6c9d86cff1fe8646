"""Families of graded rewards: name -> (number of prompts, rng) -> `Prompts`. Nobody tunes flatspot to those of held_back.py.

A range is stated where whoever writes the reward knows it; scores and logits of a reward model have none.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.special import betainc, gammainc, logit, ndtr, ndtri
from scipy.stats import betabinom
from truths import GROUP, Prompts, joined, of_cdf, of_chances, of_weights

_QUANTILES = ndtri((np.arange(20_000) + 0.5) / 20_000)
_NORMAL_GAIN = float(_QUANTILES @ np.diff((np.arange(20_001) / 20_000) ** GROUP))  # E[max of 8] of a standard normal
REAL = Path(__file__).parent / "real_partial_credit.parquet"


def kinds(values, weights, low=0.0, high=1.0, shares=None):
    """A few kinds of prompts, each with these weights over the values."""
    weights = np.asarray(weights, float)

    def sample(m, rng):
        return of_weights(values, weights[rng.choice(len(weights), m, p=shares)], low, high)

    return sample


def dirichlets(values, concentrations, low=0.0, high=1.0):
    """Kinds of prompts, each with weights of a Dirichlet of its own."""
    concentrations = np.asarray(concentrations, float)

    def sample(m, rng):
        weights = rng.standard_gamma(concentrations[rng.integers(0, len(concentrations), m)]) + 1e-300
        return of_weights(values, weights / weights.sum(1, keepdims=True), low, high)

    return sample


def minus_one_or_one(m, rng):
    kind = rng.random(m)
    p = np.where(kind < 0.4, rng.uniform(0, 0.06, m), np.where(kind < 0.6, 0.13, rng.beta(1, 1, m)))
    return of_chances(p, -1.0, 1.0)


def format_and_correct(m, rng):
    """0.2 for the format and 0.8 for the answer, which counts only in the right format."""
    formatted, right = rng.choice([0.3, 0.9, 0.999], m), np.where(rng.random(m) < 0.5, rng.beta(0.3, 8, m), rng.beta(1.2, 1, m))
    return of_weights([0.0, 0.2, 1.0], np.stack([1 - formatted, formatted * (1 - right), formatted * right], -1))


def length_penalty(m, rng):
    """0 or 1, minus up to 0.2 for the length."""
    kind = rng.random(m)
    p = np.where(kind < 0.25, 0.0, np.where(kind < 0.5, rng.uniform(0, 0.04, m), rng.beta(0.8, 1, m)))
    middle = rng.uniform(0.1, 0.7, m)
    a, b = 60 * middle[:, None], 60 * (1 - middle)[:, None]

    def draw(i, k, rng):
        return (rng.random((len(i), k)) < p[i, None]) - 0.2 * rng.beta(a[i], b[i], (len(i), k))

    def cdf(x, at):
        wrong, right = (1 - betainc(a[at], b[at], np.clip((top - x) / 0.2, 0, 1)) for top in (0.0, 1.0))
        return (1 - p[at, None]) * wrong + p[at, None] * right

    return of_cdf(draw, cdf, m, low=-0.2)


def betas(mean_of, size_of):
    def sample(m, rng):
        mean, size = mean_of(m, rng), size_of(m, rng)
        # below 0.3, draws would round to the very ends of the range
        a, b = np.maximum(mean * size, 0.3)[:, None], np.maximum((1 - mean) * size, 0.3)[:, None]
        return of_cdf(lambda i, k, rng: rng.beta(a[i], b[i], (len(i), k)), lambda x, at: betainc(a[at], b[at], x), m)

    return sample


def normals(mean, std, low, high, stated, reach):
    def draw(i, k, rng):
        return mean[i, None] + std[i, None] * rng.standard_normal((len(i), k))

    return of_cdf(draw, lambda x, at: ndtr((x - mean[at, None]) / std[at, None]), len(mean), None, low, high, stated, reach)


def normal(m, rng):
    return normals(rng.uniform(0.1, 0.9, m), np.minimum(np.exp(rng.normal(-2.3, 0.8, m)), 0.3), -1.0, 2.0, True, None)


def logits(m, rng):
    """Of a reward model, without bounds: an eighth of the prompts have two modes."""
    mean, std = rng.normal(0, 3, m), np.exp(rng.normal(-0.7, 1.5, m)).clip(0.01, 4)
    apart, share = np.where(rng.random(m) < 0.125, rng.uniform(2, 5, m), 0.0), rng.uniform(0.03, 0.5, m)

    def draw(i, k, rng):
        shape = (len(i), k)
        return mean[i, None] + std[i, None] * rng.standard_normal(shape) + apart[i, None] * (rng.random(shape) < share[i, None])

    def cdf(x, at):
        own, spread = mean[at, None], std[at, None]
        return (1 - share[at, None]) * ndtr((x - own) / spread) + share[at, None] * ndtr((x - own - apart[at, None]) / spread)

    return of_cdf(draw, cdf, m, low=-40.0, high=45.0, stated=False)


def two_scales(m, rng):
    """Of a reward model whose scores are rounded to 0.01: two thirds of the prompts have an std of 0.05, the others of 8."""
    mean, std = rng.normal(0, 3, m), np.where(rng.random(m) < 2 / 3, 0.05, 8.0)
    value = np.round(mean, 2)

    def draw(i, k, rng):
        return np.round(value[i, None] + std[i, None] * rng.standard_normal((len(i), k)), 2)

    # steps of a fifth of a std change mean, std and gain by under a hundredth of it; two rewards tie as often as their cell is likely
    cells = np.arange(-30, 31) * 0.01
    ties = ndtr((cells + 0.005) / std[:, None]) - ndtr((cells - 0.005) / std[:, None])
    return Prompts(draw, value, std, _NORMAL_GAIN * std, ties, value.min() - 60, value.max() + 60, stated=False)


def skewed(m, rng):
    """1 - exp(-x), x of a gamma with a long tail to the right."""
    scale, shape = np.exp(rng.normal(-3.5, 1.2, m)), 0.3

    def draw(i, k, rng):
        return 1 - np.exp(-rng.gamma(shape, scale[i, None] / shape, (len(i), k)))

    return of_cdf(draw, lambda x, at: gammainc(shape, -np.log1p(-x) / (scale[at, None] / shape)), m)


def left_tailed(m, rng):
    """Scores of a reward model just under a top that differs between the prompts, with a long tail to the left."""
    top, scale, shape = rng.uniform(2, 5, m), np.exp(rng.normal(-0.5, 1.3, m)).clip(0.02, 4), 0.6

    def draw(i, k, rng):
        return top[i, None] - rng.gamma(shape, scale[i, None] / shape, (len(i), k))

    def cdf(x, at):
        return 1 - gammainc(shape, np.maximum(top[at, None] - x, 0.0) / (scale[at, None] / shape))

    return of_cdf(draw, cdf, m, low=-35.0, high=5.0, stated=False)


def with_ends(zero, one, middle, size):
    """Mass `zero` at 0 and `one` at 1 [M], between them a beta."""
    m = len(zero)
    a, b = (middle * size)[:, None], ((1 - middle) * size)[:, None]

    def draw(i, k, rng):
        u = rng.random((len(i), k))
        return np.where(u < zero[i, None], 0.0, np.where(u > 1 - one[i, None], 1.0, rng.beta(a[i], b[i], (len(i), k))))

    def cdf(x, at):
        return zero[at, None] + (1 - zero - one)[at, None] * betainc(a[at], b[at], x)

    return of_cdf(draw, cdf, m, np.stack([zero, one], -1))


def zero_inflated(m, rng):
    some = np.where(rng.random(m) < 0.3, 0, rng.beta(0.4, 1, m))
    return with_ends(1 - some, np.zeros(m), rng.uniform(0.3, 0.9, m), 15.0)


def both_ends(m, rng):
    weights = rng.standard_gamma(np.array([[4, 0.1, 0.3], [0.5, 0.5, 0.5], [0.1, 4, 0.4]])[rng.integers(0, 3, m)]) + 1e-12
    weights /= weights.sum(1, keepdims=True)
    return with_ends(weights[:, 0], weights[:, 1], rng.uniform(0.2, 0.8, m), 8.0)


def noisy_two_point(m, rng):
    p = np.where(rng.random(m) < 0.4, 0, rng.beta(0.6, 1.2, m))

    def draw(i, k, rng):
        return np.where(rng.random((len(i), k)) < p[i, None], 0.9, 0.1) + 0.01 * rng.standard_normal((len(i), k))

    def cdf(x, at):
        return (1 - p[at, None]) * ndtr((x - 0.1) / 0.01) + p[at, None] * ndtr((x - 0.9) / 0.01)

    return of_cdf(draw, cdf, m, low=-1.0, high=2.0, reach=(0.0, 1.0))


def partial_credit(m, rng):
    """The share of 5 to 60 tests that pass, beta-binomial: hundreds of values over the set."""
    tests, middle = rng.integers(5, 61, m), np.where(rng.random(m) < 0.4, rng.beta(0.5, 12, m), rng.beta(1, 1, m))
    size = np.exp(rng.normal(1.0, 1.0, m))
    a, b = np.maximum(middle * size, 1e-3), np.maximum((1 - middle) * size, 1e-3)
    values = np.unique(np.concatenate([np.arange(n + 1) / n for n in range(5, 61)]))
    weights = np.zeros((m, len(values)))
    for i, n in enumerate(tests):
        weights[i, np.searchsorted(values, np.arange(n + 1) / n)] = betabinom.pmf(np.arange(n + 1), n, a[i], b[i])
    exact = of_weights(values, weights / weights.sum(1, keepdims=True))

    def draw(i, k, rng):
        return rng.binomial(tests[i, None], rng.beta(a[i, None], b[i, None], (len(i), k))) / tests[i, None]

    return exact.__class__(draw, exact.mean, exact.std, exact.gain, exact.ties)


def mixed_law(m, rng, *parts):
    """Of (share, (low, high)) pairs, uniform in each."""
    ends = np.array([part[1] for part in parts])[rng.choice(len(parts), m, p=[part[0] for part in parts])]
    return rng.uniform(ends[:, 0], ends[:, 1])


def rare_large(m, rng):
    """Small change almost always, and once in a while the whole reward."""
    rare, small = mixed_law(m, rng, (0.45, (0, 0.004)), (0.15, (0.004, 0.02)), (0.4, (0.02, 0.3))), rng.uniform(0.005, 0.04, m)

    def draw(i, k, rng):
        u = rng.random((len(i), k))
        return np.where(u < rare[i, None], 1.0, small[i, None] * rng.random((len(i), k)))

    def cdf(x, at):
        return (1 - rare[at, None]) * np.minimum(x / small[at, None], 1.0)

    return of_cdf(draw, cdf, m, rare[:, None])


def sentiment(m, rng):
    """The probability that a classifier gives a continued film review: a normal logit, with prompts pulled to either end."""
    middle, spread = rng.normal(0.3, 2.2, m), np.exp(rng.normal(-0.4, 0.9, m))

    def draw(i, k, rng):
        return 1 / (1 + np.exp(-(middle[i, None] + spread[i, None] * rng.standard_normal((len(i), k)))))

    return of_cdf(draw, lambda x, at: ndtr((logit(x) - middle[at, None]) / spread[at, None]), m)


@cache
def _real_weights():
    table = pq.read_table(REAL, columns=["prompt_id", "reward"])
    _, prompt = np.unique(table["prompt_id"].to_numpy(), return_inverse=True)
    values, value = np.unique(table["reward"].to_numpy().astype(float).round(6), return_inverse=True)
    weights = np.zeros((prompt.max() + 1, len(values)))
    np.add.at(weights, (prompt, value), 1.0)
    return values, weights / weights.sum(1, keepdims=True)


def real(m, rng):
    """SmolLM2-135M-Instruct under the scorers of twelve tasks of reasoning-gym: 64 completions of 60 prompts stand for the policy."""
    values, weights = _real_weights()
    return of_weights(values, weights[rng.integers(0, len(weights), m)])


def four_families(m, rng):
    cuts = [len(part) for part in np.array_split(np.arange(m), 4)]
    parts = (zero_inflated, GRADED["dirichlet, three kinds"], GRADED["beta, low means"], GRADED["0, .5, 1, few kinds"])
    return joined([part(n, rng) for part, n in zip(parts, cuts, strict=True) if n])


GRADED = {
    "0, .5, 1, few kinds": kinds([0, 0.5, 1], [[0.97, 0.02, 0.01], [0.86, 0.1, 0.04], [0.3, 0.3, 0.4], [0.01, 0.04, 0.95]]),
    "-1, -.5, 0": kinds([-1, -0.5, 0], [[0.96, 0.03, 0.01], [0.88, 0.08, 0.04], [0.3, 0.4, 0.3], [0.02, 0.1, 0.88]], -1.0, 0.0),
    "-1, 1": minus_one_or_one,
    "format and correct": format_and_correct,
    "length penalty": length_penalty,
    "beta, low means": betas(lambda m, rng: rng.beta(0.6, 8, m), lambda m, rng: np.exp(rng.normal(3.5, 1.0, m))),
    "beta": betas(lambda m, rng: rng.uniform(0.1, 0.95, m), lambda m, rng: np.exp(rng.normal(3.5, 1.6, m))),
    "normal": normal,
    "skewed": skewed,
    "left-tailed scores": left_tailed,
    "logits": logits,
    "two scales, rounded": two_scales,
    "zero-inflated": zero_inflated,
    "both ends": both_ends,
    "two points with noise": noisy_two_point,
    "partial credit": partial_credit,
    "dirichlet, three kinds": dirichlets([0, 0.25, 0.5, 1], [[5, 0.05, 0.02, 0.01], [0.05, 0.05, 0.1, 5], [1, 1, 1, 1.0]]),
    "one dirichlet": dirichlets([0, 0.5, 1], [[0.6, 0.3, 0.3]]),
    "sparse dirichlet": dirichlets([0, 0.1, 0.3, 0.7, 1], [[0.5, 0.1, 0.1, 0.1, 0.1]]),
    "rare large reward": rare_large,
    "sentiment": sentiment,
    "four families": four_families,
    "real partial credit": real,
}
