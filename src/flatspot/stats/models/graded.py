"""Graded rewards, those with more than two values: prompts judged from posterior draws of each one's mean and std."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy.special import ndtri

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.intervals import (
    REFITS,
    SHAPES_OFF,
    counted_limits,
    equal_rewards_std_upper,
    mean_shares,
    moved_together,
    state_shares,
    whole_prompts,
    with_limits,
)
from flatspot.stats.models.best_of import all_equal, expected_best, gain_about
from flatspot.stats.models.candidates import WIDEN, Candidates
from flatspot.stats.models.dictionary import Dictionary
from flatspot.stats.models.limits import Limits, with_equal
from flatspot.stats.models.moments import Moments, moments, prior_of, share_of_draws
from flatspot.stats.models.parts import Parts, split
from flatspot.stats.models.told import Judged, Spreads, joined, spreads_of
from flatspot.stats.models.unseen_graded import Unseen, with_known
from flatspot.stats.models.worst_case import DROP, Enough
from flatspot.stats.threads import over_blocks
from flatspot.stats.zones import Odds, Zones, chance_of_best, check_size, typical_gain

R = TypeVar("R")

_DRAWS = 400
_FEWEST_DRAWS = 64
_DRAWS_IN_ALL = 2_500_000  # above 6,250 prompts each gets fewer: its stated error cannot fall below about half of one over their number
_CELLS_IN_ALL = 300_000_000
_CELLS_AT_ONCE = 1_000_000
_MISFIT = 0.02  # distance beyond chance from which on the shapes are said not to fit
_Z90, _Z95 = 1.645, 1.96  # of nominal limits


@dataclass(frozen=True, eq=False)
class GradedModel:
    """M prompts of graded rewards, each with a completion or more: see `FittedModel`.

    parts    the categories that the rewards fell into
    prior    of their weights, fitted to the set
    rows     [R] prompts that differ: all that is known of a prompt may be its counts, and then those with equal ones share an answer
    row_of   [M] which of these each prompt is
    sizes    group sizes whose mixed groups are counted along with everything else, in one pass; others take another, and so do limits
             where there are none of these, as in triage
    unseen   where the evidence is of new draws alone: what else is known of each prompt
    """

    evidence: Evidence = field(repr=False)
    r_star: Floats = field(repr=False)
    zones: Zones
    parts: Parts = field(repr=False)
    prior: Dictionary = field(repr=False)
    rows: Ints = field(repr=False)
    row_of: Ints = field(repr=False)
    sizes: tuple[int, ...] = ()
    unseen: Unseen | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, evidence: Evidence, r_star: Floats, zones: Zones, sizes: Sequence[int] = (), unseen: Unseen | None = None) -> GradedModel:
        """Sort the rewards into categories, and fit the prior of their weights."""
        parts = split(evidence, zones)
        if parts.in_rest.any() or unseen is not None:
            rows = row_of = np.arange(evidence.n_prompts)
        else:
            known = np.c_[parts.counts, zones.ceiling(r_star), np.isfinite(r_star), np.nan_to_num(parts.own)]
            _, rows, row_of = np.unique(known, axis=0, return_index=True, return_inverse=True)
        return cls(evidence, r_star, zones, parts, prior_of(parts), rows, row_of.reshape(-1), tuple(sizes), unseen)

    @property
    def family(self) -> str:
        """few-valued, continuous, zero-inflated or mixed."""
        return self.parts.family

    @property
    def n(self) -> Ints:
        """[M] completions with a reward."""
        return self.evidence.n

    @property
    def states(self) -> Floats:
        """[M, 3] probability of each state."""
        return self._judged.states[self.row_of]

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that each verdict would be wrong beyond indifference."""
        return self._judged.loss[self.row_of]

    @property
    def std_limits(self) -> Floats:
        """[M, 2] 95% limits of the std; of equal rewards, what any other reward of the range would add."""
        lo, hi = self._spreads.std[self.row_of].T
        flat, std = self.evidence.n_mode == self.n, self.evidence.std
        upper = equal_rewards_std_upper(self.evidence.mode, self.n, self.zones.lo, self.zones.hi)
        return np.stack([np.where(flat, 0.0, np.fmin(lo, std)), np.where(flat, upper, np.fmax(hi, std))], -1)

    def mixed(self, group_size: int) -> Floats:
        """[M] probability that a group is mixed."""
        return self._mixed((group_size,))[:, 0]

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] posterior mean and variance of pass@K where r* is known; elsewhere of the chance that a group gives a signal."""
        check_size(group_size)

        def passing(at: slice, draws: Moments) -> tuple[Floats, Floats]:
            r_star = self.r_star[self.rows[at], None]
            gain = expected_best(draws, self.parts, group_size) - draws.mean
            signal = (1 - all_equal(draws, group_size)) * (gain >= self.zones.gain_limit(self.scale))
            passes = 1 - (1 - chance_of_best(draws.mean, draws.std, np.nan_to_num(r_star))) ** group_size
            chance = np.where(np.isfinite(r_star), passes, signal)
            return chance.mean(-1), chance.var(-1)

        mean, variance = (np.concatenate(of) for of in zip(*self._of_draws(passing), strict=True))
        return mean[self.row_of], variance[self.row_of]

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K: E[max of K] less the mean."""
        check_size(group_size)
        if group_size == self.zones.group_size:
            return self._spreads.gain[self.row_of]
        return self._mean_gain(group_size)

    @property
    def limits(self) -> Limits:
        """95% limits of each prompt's mean, and of the two that a signal takes."""
        of, evidence = self._spreads, self.evidence
        fitted = Limits(*(limits[self.row_of] for limits in (of.mean, of.mixed, of.of_gain)))
        return with_equal(fitted, evidence.n_mode == self.n, evidence.mode, self.n, self.zones)

    @cached_property
    def scale(self) -> float:
        """What gains are measured against: the width of a stated range, else the typical gain of the prompts that vary."""
        if self.zones.scale is not None:
            return self.zones.scale
        return typical_gain(self._mean_gain(self.zones.group_size)[self.evidence.std > 0])

    @cached_property
    def shares(self) -> Floats:
        """[3, 3] share of prompts like these in each state: mean, and 95% limits."""
        limits = state_shares(self.states, np.random.default_rng(0))
        if len(self.parts.used) > 1:
            lo, hi = self._candidates.share_limits(_Z95).T
            limits[:, 1], limits[:, 2] = np.minimum(limits[:, 1], lo), np.maximum(limits[:, 2], hi)
        if self.parts.in_rest.any():
            limits[:, 1:] += self._off(self.states, limits[:, 1:] - limits[:, :1])
        expected = self.states.sum(0)  # less than one prompt: it may as well be none
        limits[expected < 1, 1], limits[len(self.states) - expected < 1, 2] = 0.0, 1.0
        if self._one_each:
            limits[:, 1:] = (0.0, 1.0)
        return limits

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        """Limits for these very prompts: under the fitted model, and under every distribution of the weights that the counts allow."""
        if self._one_each:
            return 0.0, 1.0
        may_be, must_be = 1 - self.loss[:, state], np.delete(self.loss, state, 1).min(1)
        lo, hi = counted_limits(may_be, must_be, level=level)
        if self.parts.in_rest.any():
            reach = np.array([[lo - may_be.mean(), 0.0], [0.0, hi - must_be.mean()]])
            off = self._off(np.stack([may_be, must_be], -1), reach, level)
            lo, hi = whole_prompts(max(lo + off[0, 0], 0.0), min(hi + off[1, 1], 1.0), len(may_be))
        if len(self.parts.used) == 1:
            return lo, hi
        lowest, highest = self._candidates.set_limits(state, level)
        return min(lo, lowest), max(hi, highest)

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] expected share of mixed groups: mean and 90% limits."""
        return with_limits(*self.mixed_shares(sizes), level=0.9)

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """[S] and [draws, S] expected share of mixed groups, and what it may be."""
        for k in sizes:
            check_size(k)
        mixed, rng = self._mixed(sizes), np.random.default_rng(0)
        mean = mixed.mean(0)
        if self._one_each:
            return mean, rng.random((draws, len(sizes)))
        if len(self.parts.used) == 1:
            return mean, mean_shares(mixed, draws, rng)[1]
        z = WIDEN * ndtri((np.arange(draws) + 0.5) / draws)
        shares = np.stack([self._candidates.mixed_path(k, _Z90).at(z) for k in sizes], -1)
        if self.parts.step is not None:  # which reward a rounded one ties with is no matter of weights
            shares = np.where(np.arange(draws)[:, None] % 2, shares, mean_shares(mixed, draws, rng)[1])
        return mean, shares

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """Of few-valued rewards, over every distribution of their weights; NaN where some are continuous: no limit is known."""
        if not (has := verdict >= 0).any() or not self._by_weights:
            return float("nan")
        mean = float(self.loss[np.arange(len(verdict)), verdict][has].mean())
        if enough is not None and enough(mean):
            return mean
        return self._candidates.worst_case(verdict, mean, drop, enough, realized=realized)

    @property
    def misfit(self) -> tuple[str, ...]:
        """Where the model and the rewards disagree, in sentences."""
        distance, checked = self.parts.fit
        if distance > _MISFIT:
            return (
                "the continuous part of the rewards has a shape within a prompt that the model lacks (probabilities off by "
                f"{distance:.2f} beyond chance over {checked} prompts): stated errors may be too low",
            )
        if (rest := int((self.parts.in_rest > 0).sum())) and checked < 10:
            return (
                f"{rest} prompts have rewards with many values and only {checked} could be checked against the model, which takes 10 "
                "prompts: stated errors rest on the shapes it knows",
            )
        return ()

    def _off(self, p: Floats, reach: Floats, level: float = 0.95) -> Floats:
        """[S, 2] what limits of means of probabilities [M, S] move by, where the shapes are off: reach [S, 2] is that of the limits before.

        Root of the sum of the squares of both. No shape is exactly the one meant, and that is one error for all prompts.
        """
        by = SHAPES_OFF * ndtri((1 + level) / 2) / _Z95
        moved = np.stack([moved_together(p, side * by) for side in (-1, 1)], -1) - p.mean(0)[:, None]
        return np.asarray(np.sign(moved) * (np.hypot(moved, reach) - np.abs(reach)))

    @property
    def _one_each(self) -> bool:
        """Whether the typical prompt has one reward, which shows no spread at all."""
        return bool(np.median(self.n) < 2)

    @cached_property
    def _candidates(self) -> Candidates:
        """What prompts with other weights would be."""
        by_mean, ceiling = np.argsort(self.evidence.mean, kind="stable"), self.zones.ceiling(self.r_star)
        return Candidates(self.parts, self.prior, self.zones, by_mean, ceiling, self.scale, self._by_weights)

    @property
    def _by_weights(self) -> bool:
        """Whether the weights of the atoms are all that prompts differ in."""
        return not self.parts.counts[:, self.parts.n_atoms :].any() and len(np.unique(self.zones.ceiling(self.r_star))) == 1

    def _mixed(self, sizes: Sequence[int]) -> Floats:
        """[M, S] probability that a group of each size is mixed, in one more pass over the draws at most."""
        for k in sizes:
            check_size(k)
        _ = self._judged  # which counts the groups of `self.sizes`
        if lacking := [k for k in dict.fromkeys(sizes) if k not in self._all_equal]:
            equal = list(self._of_draws(lambda _, draws: np.stack([all_equal(draws, k).mean(-1) for k in lacking])))
            self._all_equal.update(zip(lacking, np.concatenate(equal, axis=1), strict=True))
        return 1 - np.stack([self._all_equal[k][self.row_of] for k in sizes], -1)

    @cached_property
    def _all_equal(self) -> dict[int, Floats]:
        """[R] probability that a group is all equal, by group size."""
        return {}

    @cached_property
    def _judged(self) -> Judged:
        """States and losses, which triage asks for in every round; and where `sizes` are asked for, everything in the same pass."""
        ceiling, scale = self.zones.ceiling(self.r_star), self.scale
        k, limits = self.zones.group_size, self.zones.gain_limits(scale)

        def judged(at: slice, draws: Moments) -> tuple[Judged, Floats]:
            spreads, mixed, gain = None, 1 - all_equal(draws, k), np.zeros(draws.mean.shape)
            if self.sizes:
                spreads, gain = spreads_of(draws, self.parts, k)
            elif limits[-1] > 0:  # no gain decides where it need not be any more than 0
                gain = gain_about(draws, self.parts, k, limits)
            odds = Odds(mixed, np.maximum(gain, 0.0), ceiling[self.rows[at], None] - draws.mean)
            equal = np.array([all_equal(draws, size).mean(-1) for size in self.sizes]).reshape(len(self.sizes), len(draws.mean))
            return Judged(self.zones.states(odds, scale).mean(1), share_of_draws(self.zones.loss(odds, scale)), spreads), equal

        blocks, equal = zip(*self._of_draws(judged), strict=True)
        self._all_equal.update(zip(self.sizes, np.concatenate(equal, axis=1), strict=True))
        spreads = joined([block.spreads for block in blocks if block.spreads]) if self.sizes else None
        return Judged(np.concatenate([block.states for block in blocks]), np.concatenate([block.loss for block in blocks]), spreads)

    @cached_property
    def _spreads(self) -> Spreads:
        """What is told of each prompt at the end."""
        k = self.zones.group_size
        return self._judged.spreads or joined(list(self._of_draws(lambda _, draws: spreads_of(draws, self.parts, k)[0])))

    def _mean_gain(self, group_size: int) -> Floats:
        """[M] posterior mean of the gain of the best of K."""
        gain = self._of_draws(lambda _, draws: (expected_best(draws, self.parts, group_size) - draws.mean).mean(-1))
        return np.concatenate(list(gain))[self.row_of]

    def _of_draws(self, function: Callable[[slice, Moments], R]) -> Iterator[R]:
        """What the function makes of the posterior draws of each block of rows, which bound memory, several of them in threads.

        The draws are the same ones whenever they are asked for: each block has a generator of its own.
        """
        width, m = self.parts.counts.shape[1] + (0 if self.unseen is None else self.unseen.known.shape[1]), len(self.rows)
        draws = int(np.clip(min(_DRAWS_IN_ALL, _CELLS_IN_ALL / width) / m, _FEWEST_DRAWS, _DRAWS))
        step = max(1, _CELLS_AT_ONCE // (draws * width))

        def of_block(start: int) -> R:
            at, rng = slice(start, start + step), np.random.default_rng(start)
            drawn = moments(self.parts, self.rows[at], self.prior, draws, rng)
            return function(at, drawn if self.unseen is None else with_known(drawn, self.parts, self.unseen, self.rows[at], rng))

        return over_blocks(of_block, range(0, m, step))
