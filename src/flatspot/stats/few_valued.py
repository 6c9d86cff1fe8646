"""Rewards with a handful of values: Dirichlet-multinomial, its prior fitted to the set.

Model: a prompt's rewards are draws from the distinct values v_1..v_V of the set with weights w ~ Dirichlet(a f), where f is the
set's mean distribution and the concentration a is drawn from its posterior. States follow from posterior draws of (mean, std).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.zones import Zones

_CONCENTRATIONS: Floats = np.geomspace(0.02, 50, 40)
_DRAWS = 400
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Spread:
    """What a model says of each prompt. The first axis of every array is the prompt.

    states          [M, 3] probability of vanishing, learnable, solved
    wrong           [M, 3] probability that each verdict is wrong, beyond indifference
    std_lo, std_hi  [M] limits of the std under the policy
    all_equal       [M, K] probability that a group of each size is all equal
    """

    states: Floats
    wrong: Floats
    std_lo: Floats
    std_hi: Floats
    all_equal: Floats


def fit_prior(counts: Ints) -> tuple[Floats, Floats]:
    """(f, a): the prior's mean [V], and its concentration at evenly spaced quantiles of its posterior [400].

    Every value keeps at least half a prompt's worth of f. The concentration is not fixed at its likeliest value: with one sample per
    prompt the data says nothing of it, and with few prompts little, and the draws must show that.
    """
    seen = counts[counts.sum(-1) > 0]
    shares = seen / seen.sum(-1, keepdims=True)
    centre = (shares.sum(0) + 0.5) / (len(seen) + 0.5 * counts.shape[1])
    rows, size = np.unique(seen, axis=0, return_counts=True)
    scores = np.array([size @ _log_marginal(rows, a * centre) for a in _CONCENTRATIONS])
    cumulative = np.cumsum(np.exp(scores - scores.max()))
    quantiles = (np.arange(_DRAWS) + 0.5) / _DRAWS * cumulative[-1]
    return centre, _CONCENTRATIONS[np.searchsorted(cumulative, quantiles)]


def _log_marginal(counts: Ints, prior: Floats) -> Floats:
    n, total = counts.sum(-1), prior.sum()
    return np.asarray(gammaln(total) - gammaln(total + n) + (gammaln(counts + prior) - gammaln(prior)).sum(-1))


def few_valued(support: Floats, counts: Ints, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...], *, level: float = 0.95) -> Spread:
    """Judge prompts by posterior draws; prompts with equal counts and r* share theirs, so order does not matter.

    support [V], counts [M, V], r_star [M]; every prompt needs at least one sample.
    """
    support, counts = _with_ends(support, counts, zones)
    centre, concentration = fit_prior(counts)
    rng = np.random.default_rng(0)
    prior = rng.permutation(concentration)[:, None] * centre
    rows, inverse = np.unique(np.c_[counts, r_star], axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    parts = [_judge(support, block[:, None, :-1] + prior, block[:, -1], zones, group_sizes, level, rng) for block in _blocks(rows)]
    states, wrong, lo, hi, equal = (np.concatenate(part)[inverse] for part in zip(*parts, strict=True))
    return Spread(states, wrong, lo, hi, equal)


def share_of_draws(indicators: Floats) -> Floats:
    """[M, S] share of posterior draws [M, draws, S] that hold, half a draw short of certain: S draws cannot show less than about 1 / S."""
    draws = indicators.shape[1]
    return np.asarray((indicators.sum(1) + 0.5) / (draws + 1))


def _with_ends(support: Floats, counts: Ints, zones: Zones) -> tuple[Floats, Ints]:
    """The support with the ends of the range in it: a reward nobody has earned yet can still be earned."""
    slack = 1e-6 * zones.span
    ends = [end for end in (zones.lo, zones.hi) if (np.abs(support - end) > slack).all()]
    full = np.r_[support, ends]
    order = np.argsort(full)
    return full[order], np.c_[counts, np.zeros((len(counts), len(ends)), counts.dtype)][:, order]


def _blocks(rows: Floats) -> Iterator[Floats]:
    step = max(1, _CELLS_AT_ONCE // (_DRAWS * rows.shape[1]))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _judge(
    support: Floats, alpha: Floats, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...], level: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    weights = rng.standard_gamma(alpha)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    mean = weights @ support
    std = np.sqrt(np.maximum(weights @ support**2 - mean**2, 0.0))
    lo, hi = np.quantile(std, [(1 - level) / 2, (1 + level) / 2], axis=1)
    equal = np.stack([(weights**k).sum(-1).mean(-1) for k in group_sizes], -1)
    target = r_star[:, None]
    return zones.states(mean, std, target).mean(1), share_of_draws(zones.wrong(mean, std, target)), lo, hi, equal
