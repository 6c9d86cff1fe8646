"""Two-valued rewards: the success probabilities of all prompts, fitted together.

Model: s_x | p_x ~ Bin(n_x, p_x), p_x ~ g, with g any distribution on a grid of p: {0, 161 points even in logit over [-8, 8], 1}.
g is the smoothed nonparametric maximum-likelihood estimate, by EM over the distinct (n, s) pairs. Every prompt is judged under the g
fitted to the others plus itself; in sets of under 200 prompts, under the g fitted to the others alone, so that a single prompt does
not vouch for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, xlog1py, xlogy

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.kinds import distinct
from flatspot.stats.zones import Zones

GRID: Floats = np.r_[0.0, expit(np.linspace(-8.0, 8.0, 161)), 1.0]
# Smoothing: 2% of the set spread evenly over the grid, and one pseudo-prompt spread evenly over p, which is what a set of one has.
_EVEN_SHARE = 0.02
_ITERATIONS = 300
_LEAVE_ONE_OUT_BELOW = 200


def _flat_base() -> Floats:
    edges = np.r_[0.0, (GRID[1:] + GRID[:-1]) / 2, 1.0]
    return np.diff(edges)


@dataclass(frozen=True)
class Mixture:
    """The fitted distribution of success probabilities over a set of prompts.

    weights  [163] mass of g on `GRID`
    n, hits  [C] the distinct (draws, ones) pairs seen
    size     [C] how many prompts have each
    judging  [C, 163] the g each pair is judged under (leave-one-out in small sets)
    """

    weights: Floats
    n: Ints
    hits: Ints
    size: Ints
    judging: Floats

    def posterior(self, pair: Ints) -> Floats:
        """[.., 163] distribution of p for prompts with these (n, hits) pairs."""
        return weighed(self.judging[pair], likelihood(self.n[pair], self.hits[pair]))

    def resampled(self, draws: int, rng: np.random.Generator) -> Floats:
        """[draws, 163] refits of g with prompts reweighted by the Bayesian bootstrap: how sure the fit is.

        The pseudo-prompt is drawn too, its p and its weight, so that even a set of equal prompts leaves doubt.
        """
        reweighted = rng.standard_gamma(self.size, (draws, len(self.size)))
        reweighted *= self.size.sum() / np.maximum(reweighted.sum(-1, keepdims=True), 1e-300)
        pseudo = rng.multinomial(1, _flat_base(), draws) * rng.standard_gamma(1, (draws, 1))
        # so is the amount of smoothing, from none to several times the usual: samples say little of p near 0 and 1, smoothing much
        pseudo = pseudo + (rng.standard_gamma(1, (draws, 1)) - 1) * _EVEN_SHARE * self.size.sum() / len(GRID)
        return _fit(likelihood(self.n, self.hits), reweighted, pseudo, start=self.weights, iterations=150)


def likelihood(n: Ints, hits: Ints) -> Floats:
    """[C, 163] probability of the pattern of `hits` ones in `n` draws at each grid point, scaled to a row maximum of 1."""
    log = xlogy(hits[:, None], GRID) + xlog1py((n - hits)[:, None], -GRID)
    return np.asarray(np.exp(log - log.max(-1, keepdims=True)))


def weighed(g: Floats, table: Floats) -> Floats:
    """[C, 163] distribution of p under g [163] or [C, 163], for prompts with these likelihoods [C, 163]."""
    joint = g * table
    return np.asarray(joint / joint.sum(-1, keepdims=True))


def fit_mixture(n: Ints, hits: Ints) -> tuple[Mixture, Ints]:
    """Fit g to every prompt with n > 0; returns the mixture and each prompt's index into its (n, hits) pairs.

    >>> mixture, pair = fit_mixture(np.array([16] * 60), np.array([0] * 40 + [16] * 20))
    >>> float(mixture.weights[GRID < 0.05].sum().round(2)), float(mixture.weights[GRID > 0.95].sum().round(2))
    (0.65, 0.33)
    """
    (kind_n, kind_hits), pair, size = distinct(n, hits)
    table = likelihood(kind_n, kind_hits)
    weights = _fit(table, size[None].astype(float))[0]
    if size.sum() < _LEAVE_ONE_OUT_BELOW:
        judging = _fit(table, size[None].astype(float) - np.eye(len(size)))
    else:
        judging = np.broadcast_to(weights, table.shape)
    return Mixture(weights, kind_n, kind_hits, size, judging), pair


def flat_prior() -> Floats:
    """[163] p spread evenly: what g is before any prompt."""
    return _flat_base()


def fit_pairs(n: Ints, hits: Ints, size: Ints) -> Floats:
    """[163] g fitted to `size[i]` prompts with `hits[i]` ones in `n[i]` draws, nothing left out.

    >>> g = fit_pairs(np.array([16, 16]), np.array([0, 16]), np.array([40, 20]))
    >>> float(g[GRID < 0.05].sum().round(2)), float(g[GRID > 0.95].sum().round(2))
    (0.65, 0.33)
    """
    return np.asarray(_fit(likelihood(n, hits), size[None].astype(float))[0])


def are_ends(support: Sequence[float] | Floats, zones: Zones) -> bool:
    """Whether the rewards seen are the ends of the range, both or one of them.

    >>> are_ends([0.0, 1.0], Zones(0.05)), are_ends([0.0, 0.5], Zones(0.05))
    (True, False)
    """
    slack = 1e-6 * zones.span
    return len(support) <= 2 and all(min(abs(value - zones.lo), abs(value - zones.hi)) <= slack for value in support)


def two_ends(support: Sequence[float] | Floats, zones: Zones) -> tuple[float, float]:
    """The low and the high reward: both seen, or the one seen and the end of the range it could yet reach; the range if none was."""
    if len(support) == 2:
        return float(min(support)), float(max(support))
    if len(support) == 0:
        return zones.lo, zones.hi
    only = float(support[0])
    return (zones.lo, only) if only >= zones.hi > zones.lo else (only, zones.hi)


def _fit(
    table: Floats, size: Floats, pseudo: Floats | None = None, *, start: Floats | None = None, iterations: int = _ITERATIONS
) -> Floats:
    """EM for many weightings at once: table [C, k], size [B, C], pseudo-prompts [B, k] -> g [B, k]."""
    total = size.sum(-1, keepdims=True)
    prior = _EVEN_SHARE * total / len(GRID) + (_flat_base() if pseudo is None else pseudo)
    g = np.broadcast_to(1 / len(GRID) if start is None else start, (len(size), len(GRID))).copy()
    for _ in range(iterations):
        expected = (size / np.maximum(g @ table.T, 1e-300)) @ table
        g *= expected
        g += prior
        g /= g.sum(-1, keepdims=True)
    return g


def state_table(zones: Zones, low: float, high: float, r_star: Floats) -> tuple[Floats, Floats]:
    """States and wrong verdicts at each grid point, for rewards `low` and `high` and each achievable reward: two [R, 163, 3] arrays."""
    mean, std = low + GRID * (high - low), np.sqrt(GRID * (1 - GRID)) * (high - low)
    return zones.states(mean, std, r_star[:, None]), zones.wrong(mean, std, r_star[:, None])


def mixed_at(group_size: int) -> Floats:
    """[163] probability that a group of this size holds both rewards: 1 - p^K - (1 - p)^K."""
    return np.asarray(1 - GRID**group_size - (1 - GRID) ** group_size)
