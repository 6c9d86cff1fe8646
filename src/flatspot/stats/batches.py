"""What an RL run on these prompts would see: mixed groups, the group size to plan for, and whether its batches fill.

A group of K completions is informative when it is mixed. Under g its chance is f(K) = E[1 - p^K - (1 - p)^K]; a sampler that draws G groups
a generation batch and wants B informative ones has X ~ Bin(L G, f) of them after L batches, and stalls with P(X < B). f itself is known
only as well as the counts tell it, so every probability is averaged over its profile likelihood. Filling a batch takes B / f groups on
average (negative binomial), hence K B / f rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.forecast import REFITS, Forecast, mixture_shares, prompt_shares
from flatspot.stats.models.binary import fit_mixture, mixed_at
from flatspot.stats.models.graded import many_valued
from flatspot.stats.models.identified_set import mean_bounds, too_few
from flatspot.stats.posterior import ones_of, two_valued
from flatspot.stats.zones import Zones

_CHOICES = (2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class GroupPlan:
    """A group size, the share of mixed groups it gives (mean and 90% limits), and what one pass over the prompts costs.

    tokens is NaN where the tokens of a completion are not known; `reached` is False where no size up to 128 gives the share asked for.
    """

    group_size: int
    informative: tuple[float, float, float]
    completions: int
    tokens: float
    reached: bool


@dataclass(frozen=True)
class BatchPlan:
    """What filling one training batch with informative groups takes.

    groups, rollouts  expected number, mean and 90% limits; infinite where no group may be mixed
    stall             probability that the sampler's batches run out first; NaN without a limit
    """

    groups: tuple[float, float, float]
    rollouts: tuple[float, float, float]
    stall: float


def refit_shares(evidence: Evidence, zones: Zones, sizes: tuple[int, ...], *, refits: int = REFITS, seed: int = 0) -> tuple[Floats, Floats]:
    """The expected share of mixed groups at each size [S], and what it may be [refits, S].

    Every share is of groups of prompts *like* these, drawn at random.
    """
    for size in sizes:
        if size < 2:
            raise SettingsError(f"a group has at least 2 completions, got {size}")
    rng = np.random.default_rng(seed)
    some = evidence.n > 0
    if not some.any():
        return np.full(len(sizes), np.nan), rng.random((refits, len(sizes)))
    evidence = evidence.subset(some)
    if not two_valued(evidence, zones):
        spread = many_valued(evidence, np.full(evidence.n_prompts, zones.hi), zones, sizes)
        central, shares = prompt_shares(1 - spread.all_equal, refits, rng)
        return central, rng.random((refits, len(sizes))) if np.median(evidence.n) < 2 else shares
    mixture, _ = fit_mixture(evidence.n, ones_of(evidence, zones))
    central, shares = mixture_shares(mixture, sizes, refits)
    if too_few(evidence.n):  # as likely at the one end of what the counts allow as at the other
        bounds = mean_bounds(mixture.n, mixture.hits, mixture.size, np.stack([mixed_at(k) for k in sizes]), level=0.9)
        shares = np.where(rng.random((refits, 1)) < 0.5, np.minimum(bounds[:, 0], shares.min(0)), np.maximum(bounds[:, 1], shares.max(0)))
    return central, shares


def forecast_of(evidence: Evidence, zones: Zones, sizes: tuple[int, ...]) -> Forecast:
    """Expected share of mixed groups at each size: mean and 90% limits.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.tile([0.0, 1.0, 0.0, 1.0], 200), 200)
    >>> bool(forecast_of(evidence, Zones(0.05), (8,)).informative[0, 0] > 0.95)
    True
    """
    return Forecast.of_shares(sizes, *refit_shares(evidence, zones, sizes))


def recommend_group_size(evidence: Evidence, zones: Zones, share: float, *, tokens_per_completion: float = np.nan) -> GroupPlan:
    """The smallest group size whose expected share of mixed groups is at least `share`, and what one pass costs.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.tile([0.0, 1.0, 0.0, 1.0], 200), 200)
    >>> recommend_group_size(evidence, Zones(0.05), 0.8, tokens_per_completion=100).group_size
    4
    """
    if not 0 < share < 1:
        raise SettingsError(f"share must lie in (0, 1), got {share}")
    found = forecast_of(evidence, zones, _CHOICES).informative
    good = np.flatnonzero(found[:, 0] >= share)
    at = int(good[0]) if len(good) else len(_CHOICES) - 1
    size, completions = _CHOICES[at], _CHOICES[at] * evidence.n_prompts
    lo_hi = (float(found[at, 0]), float(found[at, 1]), float(found[at, 2]))
    return GroupPlan(size, lo_hi, completions, completions * tokens_per_completion, len(good) > 0)


def fill_batch(
    evidence: Evidence, zones: Zones, group_size: int, informative: int, *, groups_per_batch: int = 0, max_batches: int = 0
) -> BatchPlan:
    """What it takes to fill a training batch with `informative` mixed groups of `group_size`.

    groups_per_batch, max_batches : a dynamic sampler's generation batch and its limit on them; 0: no limit, no chance of a stall

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.r_[np.tile([0.0, 1.0, 0.0, 1.0], 100), np.zeros(400)], 200)
    >>> plan = fill_batch(evidence, Zones(0.05), 8, 64, groups_per_batch=64, max_batches=3)
    >>> 100 < plan.groups[0] < 160, 0 <= plan.stall < 0.05
    (True, True)
    """
    if informative < 1:
        raise SettingsError(f"a batch has at least one informative group, got {informative}")
    central, shares = refit_shares(evidence, zones, (group_size,))
    with np.errstate(divide="ignore"):
        fewest, mean, most = informative / np.r_[np.quantile(shares[:, 0], 0.95), central[0], np.quantile(shares[:, 0], 0.05)]
    groups = (float(mean), float(fewest), float(most))
    stall = float("nan")
    if groups_per_batch > 0 and max_batches > 0:
        stall = float(_short(informative, groups_per_batch * max_batches, shares[:, 0]).mean())
    return BatchPlan(groups, _times(group_size, groups), stall)


def _short(informative: int, groups: int, share: Floats) -> Floats:
    """P(Bin(groups, share) < informative)."""
    if informative > groups:
        return np.ones_like(share)
    return np.asarray(bdtr(informative - 1, groups, np.clip(share, 0.0, 1.0)))


def _times(factor: float, values: tuple[float, float, float]) -> tuple[float, float, float]:
    return values[0] * factor, values[1] * factor, values[2] * factor
