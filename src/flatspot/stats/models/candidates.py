"""What prompts with each of the candidate weight vectors would be, and what then holds whatever distribution the prompts come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.intervals import whole_prompts
from flatspot.stats.models.best_of import all_equal, expected_best
from flatspot.stats.models.dictionary import Dictionary
from flatspot.stats.models.mean_limits import MeanProfile, mean_profiles
from flatspot.stats.models.moments import Moments, moments_of_vectors
from flatspot.stats.models.parts import Parts
from flatspot.stats.models.vectors import MOST_KINDS, WeightSet, likelihoods
from flatspot.stats.models.worst_case import Enough, largest_mean, never_enough
from flatspot.stats.zones import Odds, Zones

WIDEN = 1.15  # by how much a nominal limit is widened, as for binary rewards
_PARTNERS = 96  # prompts whose rests a weight vector is combined with


@dataclass(frozen=True, eq=False)
class Candidates:
    """J weight vectors over the categories of a set of M prompts, each with the rests of some of them.

    by_mean     [M] the prompts, by their mean
    ceiling     [M] what r* cannot pass
    scale       what gains are measured against
    by_weights  whether the weights of the atoms are all that prompts differ in
    """

    parts: Parts = field(repr=False)
    prior: Dictionary = field(repr=False)
    zones: Zones
    by_mean: Ints = field(repr=False)
    ceiling: Floats = field(repr=False)
    scale: float
    by_weights: bool

    @cached_property
    def weights(self) -> WeightSet:
        """What the counts say of the distribution of the weights over the prompts."""
        return WeightSet.of(self.parts.counts[:, self.parts.used], self.prior, self._kinds if self.by_weights else None)

    def share_limits(self, z: float) -> Floats:
        """[3, 2] limits of the share of prompts like these in each state, at so many standard deviations."""
        states = self.zones.states(self._odds, self.scale).mean(1).T
        paths = mean_profiles(self.weights.table, self.weights.size, states, z)
        return np.array([path.at(WIDEN * np.array([-z, z])) for path in paths])

    def set_limits(self, state: int, level: float) -> tuple[float, float]:
        """Limits for these very prompts: at least `lo` of them may be called so, and at most `hi` must be."""
        wrong, of, m = self.zones.loss(self._odds, self.scale), self.weights, len(self.by_mean)
        may_be, must_be = (1 - wrong[..., state]).mean(1), np.delete(wrong, state, -1).min(-1).mean(1)
        drop = (WIDEN * float(ndtri((1 + level) / 2))) ** 2 / 2
        not_so, so = (
            largest_mean(of.table, np.broadcast_to(f, of.table.shape), of.size, float(of.size.sum()), drop=drop, realized=True)
            for f in (1 - may_be, must_be)
        )
        return whole_prompts(1 - not_so, so, m)

    def mixed_path(self, group_size: int, z: float) -> MeanProfile:
        """The profile of the share of mixed groups."""
        if group_size not in self._paths:
            chance = 1 - all_equal(self._draws, group_size).mean(-1)
            [self._paths[group_size]] = mean_profiles(self.weights.table, self.weights.size, chance[None], z)
        return self._paths[group_size]

    def worst_case(self, verdict: Ints, mean: float, drop: float, enough: Enough | None, *, realized: bool) -> float:
        """The largest mean error of these verdicts, no less than `mean`: see `FittedModel.worst_case_error`."""
        kinds, size = np.unique(np.c_[self.parts.counts[:, self.parts.used], verdict], axis=0, return_counts=True)
        if len(kinds) > MOST_KINDS:
            every = np.linspace(0, len(kinds) - 1, MOST_KINDS).astype(np.int64)
            kinds, size = kinds[every], size[every]
        state, n_verdicts = kinds[:, -1], max(float(size[kinds[:, -1] >= 0].sum()), 1.0)
        table, loss = likelihoods(kinds[:, :-1], self.weights.vectors), self.zones.loss(self._odds, self.scale).mean(1).T
        of_verdict = np.where(state[:, None] >= 0, loss[state], 0.0)
        search = enough or never_enough
        return max(mean, largest_mean(table, of_verdict, size.astype(float), n_verdicts, drop=drop, enough=search, realized=realized))

    @cached_property
    def _paths(self) -> dict[int, MeanProfile]:
        """The profile of the share of mixed groups, by group size."""
        return {}

    @cached_property
    def _rows(self) -> Ints:
        """The prompts whose rests the vectors are combined with: one, where weights are all."""
        size = 1 if self.by_weights else min(len(self.by_mean), _PARTNERS)
        return self.by_mean[((np.arange(size) + 0.5) / size * len(self.by_mean)).astype(np.int64)]

    @cached_property
    def _draws(self) -> Moments:
        """[J, rows] what each of the vectors is with the rests of each of these prompts."""
        return moments_of_vectors(self.parts, self.weights.vectors, self._rows)

    @cached_property
    def _odds(self) -> Odds:
        return self._odds_of(self._draws, self._rows)

    def _odds_of(self, draws: Moments, rows: Ints) -> Odds:
        """[J, rows] of what prompts with these weights would be."""
        gain = expected_best(draws, self.parts, self.zones.group_size) - draws.mean
        return Odds(1 - all_equal(draws, self.zones.group_size), gain, self.ceiling[rows] - draws.mean)

    def _kinds(self, vectors: Floats) -> NDArray[np.bool_]:
        """[J, 6] which states and losses a prompt with each of the weight vectors has."""
        odds = self._odds_of(moments_of_vectors(self.parts, vectors, self._rows), self._rows)
        return np.concatenate([of(odds, self.scale)[:, 0] for of in (self.zones.states, self.zones.loss)], -1) > 0
