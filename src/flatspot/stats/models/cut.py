"""The distribution of p of binary prompts part of whose completions are known: the fitted g, cut to what is proved.

A completion that is drawn again says nothing of the others, so only new draws count, each against what was unseen before it:

    posterior(p) ~ g(p) prod_j q_j(p)^r_j (1 - q_j(p))^(1 - r_j)   on [C, C + u],      q_j(p) = (p - C_j) / u_j

(`stats.first_draws`). It is told at the points p = C + u t, t on `SHARES`: whatever is open, it is divided evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from flatspot.stats.evidence import Floats
from flatspot.stats.first_draws import Scaled
from flatspot.stats.models.npmle import GRID

SHARES: Floats = np.r_[0.0, expit(np.linspace(-6.0, 6.0, 59)), 1.0]
FEWEST_KNOWN = 0.05  # known mass: below it a new draw is much like any draw, and the counts tell all there is


@dataclass(frozen=True)
class Cut:
    """The success probabilities that m prompts may have, and how probable each is.

    p       [m, T] points of [C, C + u], ascending
    chance  [m, T] sums to 1
    """

    p: Floats
    chance: Floats

    def expect(self, values: Floats) -> Floats:
        """[m, …] mean of values [m, T, …] at the points."""
        return np.asarray(np.einsum("mt,mt...->m...", self.chance, values))


def cut_to_proof(g: Floats, new: Scaled) -> Cut:
    """The distribution of each prompt under g [m, 163] or [163] on `GRID`, held to its new draws.

    >>> from flatspot.stats.first_draws import FirstDraws
    >>> draws = FirstDraws(np.array([0]), np.array([0.0]), np.array([0.9]), np.array([0]), np.array([16]))
    >>> cut = cut_to_proof(np.full(163, 1 / 163), draws.within(0.0, 1.0))
    >>> float(cut.p.max().round(3)), float(cut.chance.sum().round(3))
    (0.1, 1.0)
    """
    lo, hi = new.proved.T
    p = lo[:, None] + (hi - lo)[:, None] * SHARES
    edges = np.r_[0.0, (SHARES[1:] + SHARES[:-1]) / 2, 1.0]
    prior = np.diff(_up_to(np.broadcast_to(g, (len(p), len(GRID))), lo[:, None] + (hi - lo)[:, None] * edges), axis=-1)
    prior = np.where((prior > 0).any(-1, keepdims=True), prior, np.diff(edges))  # of which g says nothing
    log = new.log_likelihood(p)
    with np.errstate(divide="ignore"):
        log = np.where(prior > 0, log + np.log(np.maximum(prior, 1e-300)), -np.inf)
    top = log.max(-1, keepdims=True)
    joint = np.where(np.isfinite(top), np.exp(log - np.where(np.isfinite(top), top, 0.0)), 1.0)  # all but one point proved: it alone
    return Cut(p, joint / joint.sum(-1, keepdims=True))


def _up_to(g: Floats, p: Floats) -> Floats:
    """[m, T] the mass of g [m, 163] up to p [m, T], that of each grid point spread over its cell."""
    edges = np.r_[0.0, (GRID[1:] + GRID[:-1]) / 2, 1.0]
    total = np.concatenate([np.zeros((len(g), 1)), np.cumsum(g, -1)], -1)
    cell = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(GRID) - 1)
    share = (p - edges[cell]) / (edges[cell + 1] - edges[cell])
    before = np.take_along_axis(total, cell, -1)
    return np.asarray(before + share * (np.take_along_axis(total, cell + 1, -1) - before))
