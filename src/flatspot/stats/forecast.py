"""What groups of another size would see: the expected share of mixed, hence informative, groups, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from flatspot.stats.evidence import Floats
from flatspot.stats.models.binary import Mixture, mixed_at
from flatspot.stats.models.profile import profile

GROUP_SIZES = (4, 8, 16, 32)
REFITS = 400


@dataclass(frozen=True)
class Forecast:
    """The expected share of groups that are not all equal, for a prompt drawn from the set: mean, lo, hi (90%) at each size."""

    group_sizes: tuple[int, ...]
    informative: Floats

    @classmethod
    def unknown(cls) -> Forecast:
        """Nothing was scored: anything is possible."""
        return cls(GROUP_SIZES, np.tile([np.nan, 0.0, 1.0], (len(GROUP_SIZES), 1)))

    @classmethod
    def of_shares(cls, sizes: tuple[int, ...], central: Floats, shares: Floats) -> Forecast:
        """From the expected shares [S] and those under refits [refits, S]."""
        return cls(sizes, with_limits(central, shares, level=0.9))


def mixture_shares(mixture: Mixture, sizes: tuple[int, ...], draws: int = REFITS) -> tuple[Floats, Floats]:
    """E[1 - p^K - (1 - p)^K] at each size under the likeliest g [S], and what it may be, at even odds, [draws, S]."""
    found = profile(mixture.n, mixture.hits, mixture.size, np.stack([mixed_at(k) for k in sizes]))
    return found.central, found.draws(ndtri((np.arange(draws) + 0.5) / draws))


def prompt_shares(mixed: Floats, refits: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean over prompts of each one's own probability [M, S], and the same under prompts reweighted by the Bayesian bootstrap.

    Half a pseudo-prompt, at the two extremes, is kept in, so that equal values give no point.
    """
    mixed = np.clip(mixed, 0.0, 1.0)
    shares = np.empty((refits, mixed.shape[1]))
    for i, column in enumerate(mixed.T):
        kinds, size = np.unique(column.round(3), return_counts=True)
        kinds, size = np.r_[0.0, kinds, 1.0], np.r_[0.25, size, 0.25]
        weights = rng.standard_gamma(size, (refits, len(kinds)))
        shares[:, i] = weights @ kinds / weights.sum(-1)
    return mixed.mean(0), shares


def share_limits(central: Floats, shares: Floats, n_prompts: int, rng: np.random.Generator, *, level: float = 0.95) -> Floats:
    """[S, 3] (mean, lo, hi) of the shares of S states among prompts like these.

    central [S]; shares [draws, S], what this set's shares may be. Each draw is spread by the Dirichlet posterior of having seen it in
    `n_prompts` prompts (a third of a pseudo-prompt per state), so a certain share of a small set is still no point.
    """
    spread = rng.standard_gamma(shares * n_prompts + 1 / 3)
    return with_limits(central, spread / spread.sum(-1, keepdims=True), level=level)


def fractions_of(states: Floats, rng: np.random.Generator, *, draws: int = 200) -> Floats:
    """[3, 3] share of prompts like these in each state, from each prompt's own probabilities [M, 3]."""
    kinds, size = np.unique(states.round(3), axis=0, return_counts=True)
    kinds = np.maximum(kinds, 0) / np.maximum(kinds, 0).sum(-1, keepdims=True)
    shares = np.stack([rng.multinomial(size, kinds).sum(0) for _ in range(draws)]) / len(states)
    return share_limits(states.mean(0), shares, len(states), rng)


def with_limits(central: Floats, shares: Floats, *, level: float) -> Floats:
    """[S, 3] (central, lo, hi): quantiles of shares [draws, S], never past the central value [S]."""
    lo, hi = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
    central = np.atleast_1d(central)
    return np.stack([central, np.minimum(lo, central), np.maximum(hi, central)], -1)
