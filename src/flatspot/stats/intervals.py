"""Limits that never collapse to a point: K equal rewards prove less than they seem to, and so do prompts that are all alike.

First those of one prompt's probability and std; then those of shares over a set of prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from flatspot.stats.evidence import Floats, Ints

REFITS = 400  # how many times a set is reweighted, or its profile likelihood read off, for the limits of a share
# what the probabilities of continuous rewards may be off by, in probits, at the level of 95%: with it, limits of shares hold on those
# families of benchmarks/claims that no shape fits
SHAPES_OFF = 0.9
_DRAWS = 200
_STRATIFIED_DRAWS = 2000


def clopper_pearson(hits: Ints | int, n: Ints | int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Two-sided Clopper-Pearson limits of a probability; (0, 1) where n = 0.

    lo = BetaInv(alpha/2; s, n - s + 1), hi = BetaInv(1 - alpha/2; s + 1, n - s), alpha = 1 - level.

    >>> lo, hi = clopper_pearson(0, 10)
    >>> float(lo), round(float(hi), 4)
    (0.0, 0.3085)
    """
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    alpha = 1 - level
    misses = n - hits
    lo = np.where(hits > 0, betaincinv(np.maximum(hits, 1), misses + 1, alpha / 2), 0.0)
    hi = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1), 1 - alpha / 2), 1.0)
    return np.where(n > 0, lo, 0.0), np.where(n > 0, hi, 1.0)


def binary_std_interval(hits: Ints | int, n: Ints | int, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """Limits of sqrt(p (1 - p)) for a 0/1 reward after `hits` ones in `n` draws: Clopper-Pearson, mapped.

    The map peaks at p = 1/2, so the upper limit is taken at the point of [p_lo, p_hi] nearest 1/2, the lower at the farthest.
    Coverage is at least 0.956 at n = 4, 8, 10, 16, 32, 64, 300 (enumerated in the tests).

    >>> [round(float(binary_std_interval(0, n)[1]), 2) for n in (10, 300)]
    [0.46, 0.11]
    """
    lo, hi = clopper_pearson(hits, n, level=level)
    nearest = np.clip(0.5, lo, hi)
    return np.minimum(np.sqrt(lo * (1 - lo)), np.sqrt(hi * (1 - hi))), np.sqrt(nearest * (1 - nearest))


def equal_rewards_std_upper(value: Floats, n: Ints, lo: float, hi: float, *, level: float = 0.95) -> Floats:
    """Upper limit of the std after n rewards that all equal `value`, for any reward in [lo, hi]: derived here.

    At most a share q of the mass lies elsewhere (`equal_rewards_share`), at a distance of at most D to one end of the range and d <= D to
    the other. With a share t of it at the far end and the rest at the near one, the variance is
    q (t D^2 + (1 - t) d^2) - q^2 (t D - (1 - t) d)^2. It is largest at t = 1 while q <= (D - d) / (2 D), at q (1 - q) D^2, and from
    there on q D d + (D - d)^2 / 4.

    >>> equal_rewards_std_upper(np.array([0.0, 0.5]), np.array([10, 10]), 0.0, 1.0).round(2).tolist()
    [0.46, 0.28]
    """
    q = equal_rewards_share(n, level=level)
    far, near = np.maximum(value - lo, hi - value), np.minimum(value - lo, hi - value)
    one_end = 2 * q * far <= far - near
    return np.sqrt(np.where(one_end, q * (1 - q) * far**2, q * far * near + (far - near) ** 2 / 4))


def equal_rewards_share(n: Ints, *, level: float = 0.95) -> Floats:
    """The largest share of other rewards that n equal ones allow: 1 - (alpha/2)^(1/n), the upper Clopper-Pearson limit after none.

    >>> equal_rewards_share(np.array([10, 0])).round(4).tolist()
    [0.3085, 1.0]
    """
    return np.asarray(1 - ((1 - level) / 2) ** (1 / np.maximum(np.asarray(n, float), 1e-9)))


def with_limits(central: Floats, shares: Floats, *, level: float) -> Floats:
    """[S, 3] (central, lo, hi): quantiles of shares [draws, S], never past the central value [S]."""
    lo, hi = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return around(central, np.stack([np.atleast_1d(central), lo, hi], -1))


def around(central: Floats, limits: Floats) -> Floats:
    """[S, 3] (central, lo, hi): limits [S, 3] of another central value than this one [S], taken out to it where it lies outside."""
    central = np.atleast_1d(central)
    return np.stack([central, np.minimum(limits[:, 1], central), np.maximum(limits[:, 2], central)], -1)


def mean_shares(chance: Floats, refits: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Means [S] of each prompt's own probabilities [M, S], and means [refits, S] with prompts reweighted by the Bayesian bootstrap.

    Half a pseudo-prompt, at the two extremes, is kept in, so that equal values give no point.
    """
    chance = np.clip(chance, 0.0, 1.0)
    shares = np.empty((refits, chance.shape[1]))
    for i, column in enumerate(chance.T):
        kinds, size = np.unique(column.round(3), return_counts=True)
        kinds, size = np.r_[0.0, kinds, 1.0], np.r_[0.25, size, 0.25]
        weights = rng.standard_gamma(size, (refits, len(kinds)))
        shares[:, i] = weights @ kinds / weights.sum(-1)
    return chance.mean(0), shares


def share_limits(central: Floats, shares: Floats, n_prompts: int, rng: np.random.Generator, *, level: float = 0.95) -> Floats:
    """[S, 3] (mean, lo, hi) of the shares of S states among prompts like these.

    central [S]; shares [draws, S], what this set's shares may be. Each draw is spread by the Dirichlet posterior of having observed it in
    `n_prompts` prompts (a third of a pseudo-prompt per state), so a certain share of a small set is still no point.
    """
    spread = rng.standard_gamma(shares * n_prompts + 1 / 3)
    return with_limits(central, spread / spread.sum(-1, keepdims=True), level=level)


def state_shares(states: Floats, rng: np.random.Generator) -> Floats:
    """[3, 3] share of prompts like these in each state, from each prompt's own probabilities [M, 3]."""
    kinds, size = np.unique(states.round(3), axis=0, return_counts=True)
    kinds = np.maximum(kinds, 0) / np.maximum(kinds, 0).sum(-1, keepdims=True)
    shares = np.stack([rng.multinomial(size, kinds).sum(0) for _ in range(_DRAWS)]) / len(states)
    return share_limits(states.mean(0), shares, len(states), rng)


def moved_together(p: Floats, by: float = SHAPES_OFF) -> Floats:
    """[...] probabilities [M, ...] that are all off to one side, as what they rest on is: mean over the prompts of Phi(Phi^-1(p) + by).

    by  of the probit of each, either sign; a probability of 0 or 1 stays. By default what those of continuous rewards may be off by

    >>> moved_together(np.array([0.5, 0.5, 0.01, 1.0]), 0.75).round(3).item(), moved_together(np.array([0.5, 1.0]), 0.0).item()
    (0.651, 0.75)
    """
    return np.asarray(ndtr(ndtri(p) + by).mean(0))


def whole_prompts(lo: float, hi: float, n_prompts: int) -> tuple[float, float]:
    """Limits of a share of so many prompts, to whole ones: outwards where half of one or more is left.

    >>> whole_prompts(0.26, 0.44, 10), whole_prompts(0.25, 0.45, 10)
    ((0.3, 0.4), (0.2, 0.5))
    """
    lowest, highest = np.ceil(lo * n_prompts - 0.5 - 1e-9), np.floor(hi * n_prompts + 0.5 + 1e-9)
    return max(float(lowest), 0.0) / n_prompts + 0.0, min(float(highest), n_prompts) / n_prompts


def counted_limits(may_be: Floats, must_be: Floats, *, level: float = 0.95) -> tuple[float, float]:
    """(lo, hi) limits of shares of these very prompts, from each prompt's own probabilities [M]: see `FittedModel.set_limits`.

    Each is a count of M events, of variance sum p (1 - p), by the normal distribution and out to whole prompts.

    >>> counted_limits(np.array([1.0, 0.5, 0.5, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    (0.25, 0.25)
    """
    reach = [ndtri((1 + level) / 2) * np.sqrt((p * (1 - p)).sum()) / len(p) for p in (may_be, must_be)]
    return whole_prompts(float(may_be.mean() - reach[0]), float(must_be.mean() + reach[1]), len(may_be))


@dataclass(frozen=True)
class Share:
    """A share of prompts: mean, and 95% limits."""

    mean: float
    lo: float
    hi: float


def weighted_share(p: Floats, stratum: Ints, of_run: Floats, of_fit: Floats | None = None, *, seed: int = 0) -> Share:
    """Share of a run's prompts in a state, from a sample of them by strata.

    p        [M] each sampled prompt's probability of the state
    stratum  [M] 0 … S − 1
    of_run   [S] share of the run's prompts in each stratum; strata without a sampled prompt are left out
    of_fit   (mean, lo, hi) of the share as `FittedModel.shares` has it: p is as wrong as the distribution that all prompts share

    The limits take each stratum's n prompts for a sample of more: Dirichlet, with a third of a pseudo-prompt for the state and for the
    rest, so that a certain share of a few prompts is no point. Those of the fit reach as far to either side of the mean, where that is
    more.

    >>> share = weighted_share(np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1]), np.array([0.9, 0.1]))
    >>> round(share.mean, 3), share.lo < 0.1, 0.15 < share.hi
    (0.1, True, True)
    """
    rng = np.random.default_rng(seed)
    weights = stratum_weights(stratum, of_run)
    draws = np.zeros(_STRATIFIED_DRAWS)
    for s in np.unique(stratum):
        own = stratum == s
        inside = float(np.clip(p[own], 0, 1).sum())
        total = rng.beta(inside + 1 / 3, own.sum() - inside + 2 / 3, _STRATIFIED_DRAWS)
        draws += weights[own].sum() * total
    mean = float(weights @ p)
    lo, hi = np.quantile(draws, [0.025, 0.975])
    if of_fit is not None:
        central, lowest, highest = of_fit
        lo, hi = min(lo, max(mean - (central - lowest), 0.0)), max(hi, min(mean + (highest - central), 1.0))
    return Share(mean, min(float(lo), mean), max(float(hi), mean))


def stratum_weights(stratum: Ints, of_run: Floats) -> Floats:
    """[M] what each sampled prompt stands for: its stratum's share of the run over its sampled prompts; they sum to 1."""
    counts = np.bincount(stratum, minlength=len(of_run))
    each = np.divide(of_run, counts, out=np.zeros(len(of_run)), where=counts > 0)
    weights = each[stratum]
    return np.asarray(weights / weights.sum()) if weights.sum() > 0 else np.full(len(stratum), 1 / max(len(stratum), 1))
