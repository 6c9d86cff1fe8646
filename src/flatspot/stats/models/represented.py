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

from flatspot.stats.evidence import Evidence, Floats, Ints, distinct
from flatspot.stats.intervals import REFITS, equal_rewards_std_upper
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.limits import Limits, with_equal
from flatspot.stats.models.worst_case import DROP, Enough
from flatspot.stats.threads import cores
from flatspot.stats.zones import Zones

MOST_FITTED = 10_000
_AT_A_TIME = 100_000


@dataclass(frozen=True, eq=False)
class RepresentedModel:
    """M prompts, of which some are fitted: see `FittedModel`.

    part       the model of those that are fitted
    group      [F] of these, those that are alike in everything are one
    nearest    [M] the group that stands for each prompt: the mean over it, since each of its prompts is known from draws of its own
    """

    evidence: Evidence = field(repr=False)
    zones: Zones
    part: GradedModel = field(repr=False)
    group: Ints = field(repr=False)
    nearest: Ints = field(repr=False)

    @classmethod
    def fit(cls, evidence: Evidence, r_star: Floats, zones: Zones, sizes: Sequence[int] = ()) -> RepresentedModel:
        """Fit `MOST_FITTED` of the prompts, and find the nearest of them for each."""
        chosen = np.zeros(evidence.n_prompts, bool)
        chosen[np.random.default_rng(0).choice(evidence.n_prompts, MOST_FITTED, replace=False)] = True
        part = GradedModel.fit(evidence.subset(chosen), r_star[chosen], zones, sizes)
        return cls(evidence, zones, part, *_nearest(_features(evidence, zones.ceiling(r_star)), chosen))

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
        return self._of(self.part.states)

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that each verdict would be wrong beyond indifference."""
        return self._of(self.part.loss)

    @property
    def std_limits(self) -> Floats:
        """[M, 2] 95% limits of the std; of equal rewards, what any other reward of the range would add."""
        lo, hi = self._of(self.part.std_limits).T
        std, flat = self.evidence.std, self._flat
        upper = equal_rewards_std_upper(self.evidence.mode, self.n, self.zones.lo, self.zones.hi)
        return np.stack([np.where(flat, 0.0, np.fmin(lo, std)), np.where(flat, upper, np.fmax(hi, std))], -1)

    @property
    def limits(self) -> Limits:
        """95% limits of each prompt's mean, about its own, and of the two that a signal takes."""
        of = self.part.limits
        mean = self.evidence.mean[:, None] + self._of(of.mean - self.part.evidence.mean[:, None])
        if self.zones.stated:
            mean = np.clip(mean, self.zones.lo, self.zones.hi)
        fitted = Limits(mean, self._of(of.mixed), self._of(of.gain))
        return with_equal(fitted, self._flat, self.evidence.mode, self.n, self.zones)

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
        return self._of(self.part.mixed(group_size))

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] posterior mean and variance of pass@K."""
        mean, variance = self.part.pass_at(group_size)
        return self._of(mean), self._of(variance)

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K."""
        return self._of(self.part.best_of(group_size))

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] expected share of mixed groups: mean and 90% limits."""
        return self.part.forecast(sizes)

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """[S] and [draws, S] expected share of mixed groups, and what it may be."""
        return self.part.mixed_shares(sizes, draws)

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """NaN: of rewards with many values no limit is known."""
        return float("nan")

    def _of(self, values: Floats) -> Floats:
        """[M, ..] of each prompt, what was found for those that stand for it: values [F, ..]."""
        total = np.zeros((int(self.group.max()) + 1, *values.shape[1:]))
        np.add.at(total, self.group, values)
        return np.asarray((total.T / np.bincount(self.group)).T[self.nearest])

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


def _nearest(features: Floats, chosen: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """([F] the group of each of those chosen, all with equal features being one, [M] the nearest group to each prompt)."""
    from scipy.spatial import KDTree

    points, group, _ = distinct(*features[chosen].T)
    tree = KDTree(np.stack(points, -1))
    nearest = np.empty(len(features), np.int64)
    for start in range(0, len(features), _AT_A_TIME):
        at = slice(start, start + _AT_A_TIME)
        nearest[at] = tree.query(features[at], workers=cores())[1]
    nearest[chosen] = group
    return group, nearest
