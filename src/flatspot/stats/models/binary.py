"""Binary rewards: prompts whose rewards are the two ends of the range, judged under the mixture fitted to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from flatspot.stats.evidence import Evidence, Floats, Ints, distinct
from flatspot.stats.intervals import REFITS, binary_std_interval, equal_rewards_std_upper, whole_prompts, with_limits
from flatspot.stats.models.edges import grid_with_edges, states_and_losses
from flatspot.stats.models.identified_set import mean_bounds, too_few
from flatspot.stats.models.limits import Limits, binary_limits
from flatspot.stats.models.npmle import GRID, Mixture, fit_mixture, likelihood
from flatspot.stats.models.profile import WIDEN_SHARES, Profile, profile
from flatspot.stats.models.worst_case import DROP, Enough, largest_mean, never_enough
from flatspot.stats.zones import Zones, check_size, gain_of, mixed_of

_MOST_KINDS = 20_000
_Z95 = 1.959964


def are_ends(support: Sequence[float] | Floats, zones: Zones) -> bool:
    """Whether these rewards are the ends of the range, both or one of them.

    >>> are_ends([0.0, 1.0], Zones(0.05)), are_ends([0.0, 0.5], Zones(0.05))
    (True, False)
    """
    slack = 1e-6 * zones.span
    return len(support) <= 2 and all(min(abs(value - zones.lo), abs(value - zones.hi)) <= slack for value in support)


def two_ends(support: Sequence[float] | Floats, zones: Zones) -> tuple[float, float]:
    """The low and the high reward: of one reward, with the end of the range it has not reached; of none, the range."""
    if len(support) == 2:
        return float(min(support)), float(max(support))
    if len(support) == 0:
        return zones.lo, zones.hi
    only = float(support[0])
    return (zones.lo, only) if only >= zones.hi > zones.lo else (only, zones.hi)


def is_binary(evidence: Evidence, zones: Zones, answers: Floats) -> bool:
    """Whether the rewards are the ends of the range: a reward yet to come, above or between them, would be a third value.

    One reward alone is no end of a range that nobody states.

    answers  [M] what real answers earn, NaN where nobody named one: where completions have shown one value, they may show a third
    """
    if evidence.support is None or not are_ends(evidence.support, zones):
        return False
    if len(evidence.support) == 1 and not zones.stated:
        return False
    shown = np.unique(answers[np.isfinite(answers)]).tolist() if len(evidence.support) < 2 else []
    return all(are_ends([value], zones) for value in shown)


def state_table(zones: Zones, low: float, high: float) -> tuple[Floats, Floats]:
    """States and losses at each grid point, for rewards `low` and `high`, which every prompt can earn: two [163, 3] arrays."""
    return states_and_losses(GRID, zones, low, high)


def mixed_at(group_size: int) -> Floats:
    """[163] probability that a group of this size is mixed: 1 - p^K - (1 - p)^K."""
    check_size(group_size)
    return mixed_of(GRID, group_size)


@dataclass(frozen=True, eq=False)
class BinaryModel:
    """M prompts of binary rewards, each with a completion or more, and the mixture fitted to them: see `FittedModel`.

    hits       [M] how many rewards of each prompt are the high one
    low, high  the two rewards
    pair       [M] the (n, hits) pair of `mixture` that each prompt is
    """

    evidence: Evidence = field(repr=False)
    zones: Zones
    hits: Ints = field(repr=False)
    low: float
    high: float
    mixture: Mixture = field(repr=False)
    pair: Ints = field(repr=False)

    family: ClassVar[str] = "binary"
    misfit: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def fit(cls, evidence: Evidence, zones: Zones) -> BinaryModel:
        """By EM over the distinct pairs of counts."""
        if evidence.support is None or evidence.counts is None:
            raise ValueError("binary rewards have a support of one or two values, got more")
        low, high = two_ends(evidence.support, zones)
        hits = evidence.counts[:, -1] if evidence.support[-1] == high else np.zeros(evidence.n_prompts, np.int64)
        mixture, pair = fit_mixture(evidence.n, hits)
        return cls(evidence, zones, hits, low, high, mixture, pair)

    @property
    def n(self) -> Ints:
        """[M] completions with a reward."""
        return self.evidence.n

    @property
    def states(self) -> Floats:
        """[M, 3] probability of each state."""
        return self._judged[0][self.pair]

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that each verdict would be wrong beyond indifference."""
        return self._judged[1][self.pair]

    @cached_property
    def std_limits(self) -> Floats:
        """[M, 2] Clopper-Pearson, mapped; of equal rewards, also what any other reward of the range would add."""
        lo, hi = binary_std_interval(self.hits, self.n)
        lo, hi = lo * (self.high - self.low), hi * (self.high - self.low)
        flat_hi = equal_rewards_std_upper(np.where(self.hits == 0, self.low, self.high), self.n, self.zones.lo, self.zones.hi)
        hi = np.where((self.hits == 0) | (self.hits == self.n), np.maximum(hi, flat_hi), hi)
        return np.stack([np.fmin(lo, self.evidence.std), np.fmax(hi, self.evidence.std)], -1)

    @property
    def limits(self) -> Limits:
        """95% limits of each prompt's mean, and of the two that a signal takes: Clopper-Pearson, mapped."""
        return binary_limits(self.hits, self.n, self.low, self.high, self.zones.group_size)

    @property
    def scale(self) -> float:
        """What gains are measured against: the distance between the two rewards."""
        return self.high - self.low

    def mixed(self, group_size: int) -> Floats:
        """[M] probability that a group is mixed."""
        return np.asarray(self._by_pair @ mixed_at(group_size))[self.pair]

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] posterior mean and variance of pass@K."""
        check_size(group_size)
        at = 1 - (1 - GRID) ** group_size
        first, second = (np.asarray(self._by_pair @ power)[self.pair] for power in (at, at**2))
        return first, np.maximum(second - first**2, 0.0)

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K: (1 − (1 − p)^K − p) of the distance between the two rewards."""
        check_size(group_size)
        return np.asarray(self._by_pair @ gain_of(GRID, group_size))[self.pair] * (self.high - self.low)

    @cached_property
    def shares(self) -> Floats:
        """[3, 3] share of prompts like these in each state: mean, and 95% limits by profile likelihood."""
        states = self._table[0].T
        paths = profile(self.mixture.n, self.mixture.hits, self.mixture.size, states)
        lo, hi = np.array([path.limits(_Z95) for path in paths]).T
        mean = self.mixture.size @ self._judged[0] / self.mixture.size.sum()
        shares = np.stack([mean, np.minimum(lo, mean), np.maximum(hi, mean)], -1)
        return self._widened(shares, states, level=0.95) if too_few(self.n) else shares

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        """Limits for these very prompts, by profile likelihood of the counts and the share together: see `FittedModel`."""
        at = grid_with_edges(self.zones, self.low, self.high)
        wrong = states_and_losses(at, self.zones, self.low, self.high)[1].T
        table, size, m = likelihood(self.mixture.n, self.mixture.hits, at), self.mixture.size.astype(float), len(self.n)
        drop = (WIDEN_SHARES * float(ndtri((1 + level) / 2))) ** 2 / 2
        may_be, must_be = 1 - wrong[state], np.delete(wrong, state, 0).min(0)
        not_so, so = (
            largest_mean(table, np.broadcast_to(f, table.shape), size, m, drop=drop, realized=True) for f in (1 - may_be, must_be)
        )
        return whole_prompts(1 - not_so, so, m)

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] expected share of mixed groups: mean and 90% limits."""
        limits = with_limits(*self._profiled(sizes, REFITS), level=0.9)
        return self._widened(limits, np.stack([mixed_at(k) for k in sizes]), level=0.9) if too_few(self.n) else limits

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """[S] and [draws, S] expected share of mixed groups, and what it may be; of few completions, either end of what they allow."""
        central, shares = self._profiled(sizes, draws)
        if too_few(self.n):
            lo, hi = self._bounds(np.stack([mixed_at(k) for k in sizes]), 0.9).T
            coin = np.random.default_rng(0).random((draws, 1)) < 0.5
            shares = np.where(coin, np.minimum(lo, shares.min(0)), np.maximum(hi, shares.max(0)))
        return central, shares

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """Upper limit (97.5%, one-sided) of the mean error of these verdicts; of more than 20,000 kinds of prompt, so many are used."""
        has = verdict >= 0
        if not has.any():
            return float("nan")
        mean = float(self.loss[np.arange(len(verdict)), verdict][has].mean())
        if enough is not None and enough(mean):
            return mean
        columns, _, size = distinct(self.n, self.hits, verdict)
        if len(size) > _MOST_KINDS:
            every = np.linspace(0, len(size) - 1, _MOST_KINDS).astype(np.int64)
            columns, size = tuple(column[every] for column in columns), size[every]
        n, hits, state = columns
        at = grid_with_edges(self.zones, self.low, self.high)
        loss = np.where(state[:, None] >= 0, states_and_losses(at, self.zones, self.low, self.high)[1].T[state], 0.0)
        n_verdicts = max(float(size[state >= 0].sum()), 1.0)
        table, search = likelihood(n, hits, at), enough or never_enough
        return max(mean, largest_mean(table, loss, size.astype(float), n_verdicts, drop=drop, enough=search, realized=realized))

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """States and losses [163, 3] at each grid point."""
        return state_table(self.zones, self.low, self.high)

    @cached_property
    def _judged(self) -> tuple[Floats, Floats]:
        """States and losses [C, 3] of each pair of counts."""
        return self._by_pair @ self._table[0], self._by_pair @ self._table[1]

    @cached_property
    def _by_pair(self) -> Floats:
        """[C, 163] distribution of p of each pair."""
        return self.mixture.posterior(np.arange(len(self.mixture.n)))

    def _profiled(self, sizes: Sequence[int], draws: int) -> tuple[Floats, Floats]:
        """Mean over these prompts of the chance that a group is mixed [S], and what it may be among prompts like these, [draws, S].

        The mean is not the profile's own: of few prompts that is mostly the pseudo-prompt which smooths it.
        """
        if lacking := [k for k in dict.fromkeys(sizes) if k not in self._paths]:
            profiles = profile(self.mixture.n, self.mixture.hits, self.mixture.size, np.stack([mixed_at(k) for k in lacking]))
            self._paths.update(zip(lacking, profiles, strict=True))
        paths = [self._paths[k] for k in sizes]
        z = ndtri((np.arange(draws) + 0.5) / draws)
        return np.array([self.mixed(k).mean() for k in sizes]), np.stack([path.draws(z) for path in paths], -1)

    @cached_property
    def _paths(self) -> dict[int, Profile]:
        """The profile likelihood of each group size that was asked for."""
        return {}

    def _bounds(self, functions: Floats, level: float) -> Floats:
        return mean_bounds(self.mixture.n, self.mixture.hits, self.mixture.size, functions, level=level)

    def _widened(self, limits: Floats, functions: Floats, *, level: float) -> Floats:
        """Limits [F, 3] (mean, lo, hi) of the mean of functions [F, 163] of p, taken out to all that the counts do not rule out."""
        bounds = self._bounds(functions, level)
        return np.stack([limits[:, 0], np.minimum(limits[:, 1], bounds[:, 0]), np.maximum(limits[:, 2], bounds[:, 1])], -1)
