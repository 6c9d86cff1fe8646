"""Populations and families that were written after flatspot's numbers were, and measured once: whoever tunes to them writes others."""

from __future__ import annotations

import numpy as np
from binary_sets import beta, mixture, uniform
from scipy.special import ndtr
from scipy.stats import betabinom
from truths import of_cdf, of_chances, of_weights


def logit_normal(m, rng):
    return of_chances(1 / (1 + np.exp(-rng.normal(-1.0, 3.0, m))))


def rubric(m, rng):
    """Five criteria of a judge, met together more often than alone."""
    middle, size = np.where(rng.random(m) < 0.4, rng.beta(0.6, 9, m), rng.beta(2, 1, m)), np.exp(rng.normal(1.2, 0.8, m))
    a, b = np.maximum(middle * size, 1e-3)[:, None], np.maximum((1 - middle) * size, 1e-3)[:, None]
    weights = betabinom.pmf(np.arange(6), 5, a, b)
    return of_weights(np.arange(6) / 5, weights / weights.sum(1, keepdims=True))


def penalized_calls(m, rng):
    """1 for a right answer, less 0.1 for each of up to four invalid calls."""
    right, invalid = np.where(rng.random(m) < 0.5, rng.beta(0.4, 10, m), rng.beta(1, 1, m)), rng.beta(1, 3, m)
    calls = invalid[:, None] ** np.arange(5) * np.where(np.arange(5) < 4, (1 - invalid)[:, None], 1.0)
    values = np.concatenate([-0.1 * np.arange(5), 1 - 0.1 * np.arange(5)])
    weights = np.concatenate([(1 - right)[:, None] * calls, right[:, None] * calls], 1)
    order = np.argsort(values)
    return of_weights(values[order], weights[:, order] / weights.sum(1, keepdims=True), -0.4, 1.0)


def clipped_normal(m, rng):
    """A normal score, cut to [0, 1]: mass at both ends."""
    mean, std = rng.normal(0.35, 0.5, m), np.exp(rng.normal(-1.6, 0.8, m))
    zero, one = ndtr(-mean / std), ndtr((mean - 1) / std)

    def draw(i, k, rng):
        return np.clip(mean[i, None] + std[i, None] * rng.standard_normal((len(i), k)), 0.0, 1.0)

    return of_cdf(draw, lambda x, at: ndtr((x - mean[at, None]) / std[at, None]), m, np.stack([zero, one], -1))


def reciprocal_rank(m, rng):
    """1 over the rank of the right answer among ten, 0 where it is not there."""
    steep, missing = np.exp(rng.normal(-0.3, 1.2, m)), rng.choice([0.05, 0.5, 0.97, 0.999], m)
    ranks = np.exp(-steep[:, None] * np.arange(10))
    weights = np.concatenate([missing[:, None], ((1 - missing)[:, None] * ranks / ranks.sum(1, keepdims=True))[:, ::-1]], 1)
    return of_weights(np.concatenate([[0.0], 1 / np.arange(10, 0, -1)]), weights)


HELD_BACK = {
    "binary": {
        ".06, .97 and a tail": mixture((0.35, 0.06), (0.25, 0.97), (0.4, beta(0.4, 2))),
        "0 and .085-.13": mixture((0.5, 0.0), (0.5, uniform(0.085, 0.13))),
        "logit-normal": logit_normal,
        ".6, .94, .99": mixture((0.2, 0.6), (0.6, 0.94), (0.2, 0.99)),
    },
    "graded": {
        "rubric of five": rubric,
        "penalized calls": penalized_calls,
        "clipped normal": clipped_normal,
        "reciprocal rank": reciprocal_rank,
    },
}
