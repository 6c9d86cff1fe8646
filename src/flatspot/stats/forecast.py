"""What groups of another size would see: the expected share of mixed, hence informative, groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.two_valued import Mixture, mixed_at

GROUP_SIZES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Forecast:
    """The expected share of groups that are not all equal, for a prompt drawn from the set: mean, lo, hi (90%) at each size."""

    group_sizes: tuple[int, ...]
    informative: Floats

    @classmethod
    def unknown(cls) -> Forecast:
        """Nothing was scored: anything is possible."""
        return cls(GROUP_SIZES, np.tile([np.nan, 0.0, 1.0], (len(GROUP_SIZES), 1)))


def forecast_two_valued(mixture: Mixture, *, draws: int = 400) -> Forecast:
    """E[1 - p^K - (1 - p)^K] under the fitted g; limits from refits of g to reweighted prompts."""
    mixed = np.stack([mixed_at(k) for k in GROUP_SIZES])
    shares = mixture.resampled(draws, np.random.default_rng(0)) @ mixed.T
    return Forecast(GROUP_SIZES, _with_limits(mixed @ mixture.weights, shares, level=0.9))


def forecast_from_prompts(mixed: Floats, rng: np.random.Generator) -> Forecast:
    """Mean over prompts of each one's own probability [M, K]; limits by the Bayesian bootstrap over prompts."""
    return Forecast(GROUP_SIZES, np.stack([share_interval(mixed[:, k], rng, level=0.9) for k in range(mixed.shape[1])]))


def share_interval(values: Floats, rng: np.random.Generator, *, level: float = 0.9, draws: int = 200) -> Floats:
    """(mean, lo, hi) of the mean of probabilities over prompts, by reweighting the prompts.

    Half a pseudo-prompt, at the two extremes, is kept in, so that equal values give no point.
    """
    values = np.clip(values, 0, 1)
    kinds, size = np.unique(values, return_counts=True)
    kinds, size = np.r_[0.0, kinds, 1.0], np.r_[0.25, size, 0.25]
    weights = rng.standard_gamma(size, (draws, len(kinds)))
    shares = (weights @ kinds) / weights.sum(-1)
    limits: Floats = _with_limits(np.asarray(values.mean()), shares[:, None], level=level)[0]
    return limits


def share_limits(central: Floats, shares: Floats, n_prompts: int, rng: np.random.Generator, *, level: float = 0.95) -> Floats:
    """[S, 3] (mean, lo, hi) of the shares of S states among prompts like these.

    central [S]; shares [draws, S], what this set's shares may be. Each draw is spread by the Dirichlet posterior of having seen it in
    `n_prompts` prompts (a third of a pseudo-prompt per state), so a certain share of a small set is still no point.
    """
    spread = rng.standard_gamma(shares * n_prompts + 1 / 3)
    return _with_limits(central, spread / spread.sum(-1, keepdims=True), level=level)


def _with_limits(central: Floats, shares: Floats, *, level: float) -> Floats:
    lo, hi = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
    central = np.atleast_1d(central)
    return np.stack([central, np.minimum(lo, central), np.maximum(hi, central)], -1)
