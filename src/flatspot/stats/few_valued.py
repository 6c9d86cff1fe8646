"""Rewards with a handful of values: Dirichlet-multinomial, its prior fitted to the set.

Model: a prompt's rewards are draws from the distinct values v_1..v_V of the set with weights w ~ Dirichlet(a f), where f is the
set's mean distribution and the concentration a maximises the marginal likelihood. States follow from posterior draws of (mean, std).
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


def fit_prior(counts: Ints) -> Floats:
    """[V] the Dirichlet parameters a f of the set's prior; every value keeps at least half a prompt's worth of f."""
    seen = counts[counts.sum(-1) > 0]
    shares = seen / seen.sum(-1, keepdims=True)
    centre = (shares.sum(0) + 0.5) / (len(seen) + 0.5 * counts.shape[1])
    rows, size = np.unique(seen, axis=0, return_counts=True)
    scores = [size @ _log_marginal(rows, a * centre) for a in _CONCENTRATIONS]
    return np.asarray(_CONCENTRATIONS[int(np.argmax(scores))] * centre)


def _log_marginal(counts: Ints, prior: Floats) -> Floats:
    n, total = counts.sum(-1), prior.sum()
    return np.asarray(gammaln(total) - gammaln(total + n) + (gammaln(counts + prior) - gammaln(prior)).sum(-1))


def few_valued(support: Floats, counts: Ints, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...], *, level: float = 0.95) -> Spread:
    """Judge prompts by posterior draws; prompts with equal counts and r* share theirs, so order does not matter.

    support [V], counts [M, V], r_star [M]; every prompt needs at least one sample.
    """
    prior = fit_prior(counts)
    rows, inverse = np.unique(np.c_[counts, r_star], axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    rng = np.random.default_rng(0)
    parts = [_judge(support, block[:, :-1] + prior, block[:, -1], zones, group_sizes, level, rng) for block in _blocks(rows)]
    states, wrong, lo, hi, equal = (np.concatenate(part)[inverse] for part in zip(*parts, strict=True))
    return Spread(states, wrong, lo, hi, equal)


def _blocks(rows: Floats) -> Iterator[Floats]:
    step = max(1, _CELLS_AT_ONCE // (_DRAWS * rows.shape[1]))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _judge(
    support: Floats, alpha: Floats, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...], level: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    weights = rng.standard_gamma(alpha[:, None, :], (len(alpha), _DRAWS, len(support)))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    mean = weights @ support
    std = np.sqrt(np.maximum(weights @ support**2 - mean**2, 0.0))
    lo, hi = np.quantile(std, [(1 - level) / 2, (1 + level) / 2], axis=1)
    equal = np.stack([(weights**k).sum(-1).mean(-1) for k in group_sizes], -1)
    target = r_star[:, None]
    return zones.states(mean, std, target).mean(1), zones.wrong(mean, std, target).mean(1), lo, hi, equal
