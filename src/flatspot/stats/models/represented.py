"""Of very many graded prompts, some that are drawn by chance are fitted, and stand for the others.

A prompt is judged as the fitted one that its completions are most like: in how many there are, their mean, std and largest reward, how
many are equal, and what is achievable. What can be told from a prompt's own completions is told from these. The mean error over the prompts
stays what it is under the model, since a prompt and the one that stands for it differ by no more than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.intervals import REFITS, equal_rewards_std_upper
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.limits import Limits, equal_rewards_limits
from flatspot.stats.models.worst_case import DROP, Enough
from flatspot.stats.threads import cores
from flatspot.stats.zones import Zones

MOST_FITTED = 10_000
_AT_A_TIME = 100_000


@dataclass(frozen=True, eq=False)
class RepresentedModel:
    """M prompts, of which some are fitted: see `FittedModel`.

    part       the model of those that are fitted
    nearest    [M] which of them stands for each prompt
    """

    evidence: Evidence = field(repr=False)
    zones: Zones
    part: GradedModel = field(repr=False)
    nearest: Ints = field(repr=False)

    @classmethod
    def fit(cls, evidence: Evidence, r_star: Floats, zones: Zones, sizes: Sequence[int] = ()) -> RepresentedModel:
        """Fit `MOST_FITTED` of the prompts, and find the nearest of them for each."""
        chosen = np.zeros(evidence.n_prompts, bool)
        chosen[np.random.default_rng(0).choice(evidence.n_prompts, MOST_FITTED, replace=False)] = True
        part = GradedModel.fit(evidence.subset(chosen), r_star[chosen], zones, sizes)
        return cls(evidence, zones, part, _nearest(_features(evidence, zones.ceiling(r_star)), chosen))

    @property
    def family(self) -> str:
        """few-valued, continuous, zero-inflated or mixed."""
        return self.part.family

    @property
    def misfit(self) -> tuple[str, ...]:
        """Where the model and the rewards that were fitted disagree, in sentences."""
        return self.part.misfit

    @property
    def n(self) -> Ints:
        """[M] completions with a reward."""
        return self.evidence.n

    @property
    def states(self) -> Floats:
        """[M, 3] probability of each state."""
        return self.part.states[self.nearest]

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that each verdict would be wrong beyond indifference."""
        return self.part.loss[self.nearest]

    @property
    def std_limits(self) -> Floats:
        """[M, 2] 95% limits of the std; of equal rewards, what any other reward of the range would add."""
        lo, hi = self.part.std_limits[self.nearest].T
        std, flat = self.evidence.std, self._flat
        upper = equal_rewards_std_upper(self.evidence.mode, self.n, self.zones.lo, self.zones.hi)
        return np.stack([np.where(flat, 0.0, np.fmin(lo, std)), np.where(flat, upper, np.fmax(hi, std))], -1)

    @property
    def limits(self) -> Limits:
        """95% limits of each prompt's mean, about its own, and of the two that a signal takes."""
        of, flat = self.part.limits, self._flat[:, None]
        mean = of.mean[self.nearest] + (self.evidence.mean - self.part.evidence.mean[self.nearest])[:, None]
        if self.zones.stated:
            mean = np.clip(mean, self.zones.lo, self.zones.hi)
        equal = equal_rewards_limits(self.evidence.mode, self.n, self.zones)
        mixed, gain = (limits[self.nearest] for limits in (of.mixed, of.gain))
        return Limits(np.where(flat, equal.mean, mean), np.where(flat, equal.mixed, mixed), np.where(flat, equal.gain, gain))

    @property
    def scale(self) -> float:
        """What gains are measured against: the width of a stated range, else the typical gain."""
        return self.part.scale

    @cached_property
    def shares(self) -> Floats:
        """[3, 3] share of prompts like these in each state: mean, and the 95% limits that those which are fitted leave."""
        mean = self.states.mean(0)
        return np.stack([mean, np.minimum(self.part.shares[:, 1], mean), np.maximum(self.part.shares[:, 2], mean)], -1)

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        """Limits for those that are fitted, and for how far chance may have taken them from all: see `FittedModel`."""
        lo, hi = self.part.set_limits(state, level)
        reach = float(ndtri((1 + level) / 2)) * 0.5 / np.sqrt(len(self.part.n))
        return max(lo - reach, 0.0), min(hi + reach, 1.0)

    def mixed(self, group_size: int) -> Floats:
        """[M] probability that a group is mixed."""
        return self.part.mixed(group_size)[self.nearest]

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] posterior mean and variance of pass@K."""
        mean, variance = self.part.pass_at(group_size)
        return mean[self.nearest], variance[self.nearest]

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K."""
        return self.part.best_of(group_size)[self.nearest]

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] expected share of mixed groups: mean and 90% limits."""
        return self.part.forecast(sizes)

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """[S] and [draws, S] expected share of mixed groups, and what it may be."""
        return self.part.mixed_shares(sizes, draws)

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """NaN: of rewards with many values no limit is known."""
        return float("nan")

    @property
    def _flat(self) -> NDArray[np.bool_]:
        return np.asarray(self.evidence.n_mode == self.n)


def _features(evidence: Evidence, ceiling: Floats) -> Floats:
    """[M, ..] what makes two prompts alike, each by its rank among all: the scale of a reward is anything."""
    columns = (evidence.n, evidence.mean, evidence.std, evidence.high, evidence.n_mode / evidence.n, ceiling)
    ranks = []
    for column in columns:
        _, place, size = np.unique(np.nan_to_num(column, posinf=0.0), return_inverse=True, return_counts=True)
        middle = (np.cumsum(size) - size / 2) / len(column)  # of equal ones
        if len(size) > 1:
            ranks.append(middle[place.reshape(-1)])
    return np.stack(ranks, -1)


def _nearest(features: Floats, chosen: NDArray[np.bool_]) -> Ints:
    """[M] the place among those chosen of the nearest to each prompt, itself where it is one."""
    from scipy.spatial import KDTree

    tree = KDTree(features[chosen])
    nearest = np.empty(len(features), np.int64)
    for start in range(0, len(features), _AT_A_TIME):
        at = slice(start, start + _AT_A_TIME)
        nearest[at] = tree.query(features[at], workers=cores())[1]
    nearest[chosen] = np.arange(int(chosen.sum()))
    return nearest
