"""How many of a run's prompts RL could use now, from a few of them: shares by state, and the share that is ready, with limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.models.binary import GRID, fit_mixture, two_ends
from flatspot.stats.models.families import moments, prior_of, split
from flatspot.stats.posterior import ones_of, two_valued
from flatspot.stats.zones import Zones

_DRAWS = 400
_LIMIT_DRAWS = 2000


@dataclass(frozen=True)
class Share:
    """A share of prompts: mean, and 95% limits."""

    mean: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Readiness:
    """How ready each prompt is for RL. NaN where nothing was scored.

    mean, variance  [M] posterior of 1 − (1 − c)^K; the variance is what the samples leave open
    states          [M, 3] probability of vanishing, learnable, solved, as in `posterior`
    """

    mean: Floats
    variance: Floats
    states: Floats


def chance_of_best(mean: Floats, std: Floats, r_star: Floats) -> Floats:
    """Chance that one completion earns r*, at most, by mean and std alone: std² / (std² + (r* − mean)²), 1 from r* on (Cantelli).

    On 0/1 rewards with r* = 1 it is p itself, the share of ones; for other rewards it is the p of a 0/1 reward with the same reach.

    >>> chance_of_best(np.array([0.2, 0.5, 0.0]), np.array([0.4, 0.1, 0.0]), np.array(1.0)).round(3).tolist()
    [0.2, 0.038, 0.0]
    """
    short = np.maximum(r_star - mean, 0.0)
    total = std**2 + short**2
    return np.asarray(np.where(short > 0, std**2 / np.where(total > 0, total, 1.0), 1.0))


def readiness(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Readiness:
    """Posterior of 1 − (1 − c)^K, c the `chance_of_best`: that a group of K holds a completion to learn from.

    On 0/1 rewards that is the chance of one success or more: either the group is mixed, or it needs no gradient.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> rewards = np.r_[np.tile([0.0, 1.0], 32), np.zeros(64), np.ones(64)]
    >>> readiness(evidence_of_rows(np.repeat([0, 1, 2], 64), rewards, 3), np.ones(3), Zones(0.05), 8).mean.round(2).tolist()
    [0.99, 0.08, 1.0]
    """
    judged = evidence.n > 0
    mean, variance = np.full((2, evidence.n_prompts), np.nan)
    states = np.full((evidence.n_prompts, 3), np.nan)
    if judged.any():
        route = _two_valued if two_valued(evidence, zones) else _many_valued
        mean[judged], variance[judged], states[judged] = route(evidence.subset(judged), r_star[judged], zones, group_size)
    return Readiness(mean, variance, states)


def _two_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> tuple[Floats, Floats, Floats]:
    assert evidence.support is not None
    low, high = two_ends(evidence.support, zones)
    mixture, pair = fit_mixture(evidence.n, ones_of(evidence, zones))
    mean, std = low + GRID * (high - low), np.sqrt(GRID * (1 - GRID)) * (high - low)
    at = 1 - (1 - chance_of_best(mean, std, r_star[:, None])) ** group_size
    weights = mixture.posterior(pair)
    first, second = (weights * at).sum(-1), (weights * at**2).sum(-1)
    states = np.einsum("mk,mks->ms", weights, zones.states(mean, std, r_star[:, None]))
    return first, np.maximum(second - first**2, 0.0), states


def _many_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> tuple[Floats, Floats, Floats]:
    parts = split(evidence, zones)
    found = moments(parts, np.arange(evidence.n_prompts), prior_of(parts), _DRAWS, np.random.default_rng(0))
    at = 1 - (1 - chance_of_best(found.mean, found.std, r_star[:, None])) ** group_size
    return at.mean(-1), at.var(-1), zones.states(found.mean, found.std, r_star[:, None]).mean(1)


def weighted_share(p: Floats, stratum: Ints, of_run: Floats, *, seed: int = 0) -> Share:
    """Share of a run's prompts in a state, from those probed in each stratum.

    p        [M] each probed prompt's probability of the state
    stratum  [M] 0 … S − 1
    of_run   [S] share of the run's prompts in each stratum; those of strata that nobody probed are left out

    The limits take each stratum's n prompts for a sample of more: Dirichlet, with a third of a pseudo-prompt for the state and for the
    rest, so that a certain share of a few prompts is no point.

    >>> share = weighted_share(np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1]), np.array([0.9, 0.1]))
    >>> round(share.mean, 3), share.lo < 0.1, 0.15 < share.hi
    (0.1, True, True)
    """
    rng = np.random.default_rng(seed)
    weights = stratum_weights(stratum, of_run)
    draws = np.zeros(_LIMIT_DRAWS)
    for s in np.unique(stratum):
        own = stratum == s
        inside = float(np.clip(p[own], 0, 1).sum())
        total = rng.beta(inside + 1 / 3, own.sum() - inside + 2 / 3, _LIMIT_DRAWS)
        draws += weights[own].sum() * total
    mean = float(weights @ p)
    lo, hi = np.quantile(draws, [0.025, 0.975])
    return Share(mean, min(float(lo), mean), max(float(hi), mean))


def stratum_weights(stratum: Ints, of_run: Floats) -> Floats:
    """[M] what each probed prompt stands for: its stratum's share of the run over the probed prompts in it; they sum to 1."""
    counts = np.bincount(stratum, minlength=len(of_run))
    each = np.divide(of_run, counts, out=np.zeros(len(of_run)), where=counts > 0)
    weights = each[stratum]
    return np.asarray(weights / weights.sum()) if weights.sum() > 0 else np.full(len(stratum), 1 / max(len(stratum), 1))
