"""What an RL run on these prompts would see: mixed groups, the group size to plan for, and whether its batches fill.

Under g the chance that a group of K completions is mixed is f(K) = E[1 - p^K - (1 - p)^K]; a sampler that draws G groups a generation batch
and wants B mixed ones has X ~ Bin(L G, f) of them after L batches, and stalls with P(X < B). f itself is known only as well as the counts
tell it, so every probability is averaged over its profile likelihood. Filling a batch takes B / f groups on average (negative binomial),
hence K B / f completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.intervals import with_limits
from flatspot.stats.models.fitted import FittedModel

GROUP_SIZES = (4, 8, 16, 32)  # that a summary has a forecast of
SIZES = (2, 4, 8, 16, 32, 64, 128)  # that a plan chooses from


@dataclass(frozen=True)
class Forecast:
    """The expected share of mixed groups at each size: mean over these prompts, and 90% limits for prompts like these."""

    group_sizes: tuple[int, ...]
    informative: Floats


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
    """What filling one training batch with mixed groups takes.

    groups, rollouts  expected number, mean and 90% limits; infinite where no group may be mixed
    stall             probability that the sampler's batches run out first; NaN without a limit
    """

    groups: tuple[float, float, float]
    rollouts: tuple[float, float, float]
    stall: float


def forecast_of(model: FittedModel, sizes: Sequence[int]) -> Forecast:
    """Expected share of mixed groups at each size; the limits are those for prompts *like* these.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.tile([0.0, 1.0, 0.0, 1.0], 200), 200)
    >>> bool(forecast_of(fit(evidence, np.ones(200), Zones(0.05)), (8,)).informative[0, 0] > 0.95)
    True
    """
    _check_sizes(sizes)
    return Forecast(tuple(sizes), with_limits(*model.mixed_shares(sizes), level=0.9))


def recommend_group_size(model: FittedModel, share: float, *, tokens_per_completion: float = np.nan) -> GroupPlan:
    """The smallest of `SIZES` whose expected share of mixed groups is at least `share`, and what one pass costs.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.tile([0.0, 1.0, 0.0, 1.0], 200), 200)
    >>> recommend_group_size(fit(evidence, np.ones(200), Zones(0.05)), 0.8, tokens_per_completion=100).group_size
    4
    """
    if not 0 < share < 1:
        raise SettingsError(f"share must lie in (0, 1), got {share}")
    shares = forecast_of(model, SIZES).informative
    good = np.flatnonzero(shares[:, 0] >= share)
    at = int(good[0]) if len(good) else len(SIZES) - 1
    size, completions = SIZES[at], SIZES[at] * len(model.n)
    mean, lo, hi = map(float, shares[at])
    return GroupPlan(size, (mean, lo, hi), completions, completions * tokens_per_completion, len(good) > 0)


def fill_batch(model: FittedModel, group_size: int, informative: int, *, groups_per_batch: int = 0, max_batches: int = 0) -> BatchPlan:
    """What it takes to fill a training batch with `informative` mixed groups of `group_size`.

    groups_per_batch, max_batches : a dynamic sampler's generation batch and its limit on them; 0: no limit, no chance of a stall

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> evidence = evidence_of_rows(np.repeat(np.arange(200), 4), np.r_[np.tile([0.0, 1.0, 0.0, 1.0], 100), np.zeros(400)], 200)
    >>> plan = fill_batch(fit(evidence, np.ones(200), Zones(0.05)), 8, 64, groups_per_batch=64, max_batches=3)
    >>> 100 < plan.groups[0] < 160, 0 <= plan.stall < 0.05
    (True, True)
    """
    _check_sizes((group_size,))
    if informative < 1:
        raise SettingsError(f"a batch has at least one mixed group, got {informative}")
    central, shares = model.mixed_shares((group_size,))
    with np.errstate(divide="ignore"):
        mean, most, fewest = (informative / with_limits(central, shares, level=0.9)[0]).tolist()
    groups = (mean, fewest, most)
    stall = float("nan")
    if groups_per_batch > 0 and max_batches > 0:
        stall = float(_short(informative, groups_per_batch * max_batches, shares[:, 0]).mean())
    return BatchPlan(groups, _times(group_size, groups), stall)


def smallest_group(model: FittedModel, share: float) -> Ints:
    """[M] the smallest of `SIZES` at which a group of the prompt is mixed with probability `share`; 0 where none is, or nothing is scored.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> rewards = np.r_[np.tile([0.0, 1.0], 32), np.zeros(64)]
    >>> smallest_group(fit(evidence_of_rows(np.repeat([0, 1], 64), rewards, 2), np.ones(2), Zones(0.05)), 0.5).tolist()
    [4, 128]
    """
    enough = np.stack([model.mixed(k) for k in SIZES], -1) >= share
    return np.where(enough.any(1), np.array(SIZES)[enough.argmax(1)], 0)


def _check_sizes(sizes: Sequence[int]) -> None:
    if min(sizes) < 2:
        raise SettingsError(f"a group has at least 2 completions, got {min(sizes)}")


def _short(informative: int, groups: int, share: Floats) -> Floats:
    """P(Bin(groups, share) < informative)."""
    if informative > groups:
        return np.ones_like(share)
    return np.asarray(bdtr(informative - 1, groups, np.clip(share, 0.0, 1.0)))


def _times(factor: float, values: tuple[float, float, float]) -> tuple[float, float, float]:
    return values[0] * factor, values[1] * factor, values[2] * factor
