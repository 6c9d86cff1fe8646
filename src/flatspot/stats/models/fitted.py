"""One fitted model of a set of prompts, whatever its rewards are: `fit` chooses binary or graded, and nothing else needs to know which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.intervals import REFITS, with_limits
from flatspot.stats.models.binary import BinaryModel, is_binary
from flatspot.stats.models.clusters import FEW_CLUSTERS, deviations, open_limits, reliability, widened
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.limits import Limits
from flatspot.stats.models.represented import MOST_FITTED, RepresentedModel
from flatspot.stats.models.worst_case import DROP, Enough
from flatspot.stats.zones import STATES, Zones, check_size


class FittedModel(Protocol):
    """What the completions of M prompts and the model fitted to them tell of each prompt and of the set; K is a group size.

    Everything but the fit itself is computed when it is first asked for. Prompts without a reward have NaN in every array, and count for
    nothing in what is told of the set. Raises `SettingsError` for a K under 1.
    """

    @property
    def family(self) -> str:
        """binary; few-valued, continuous, zero-inflated or mixed of graded rewards; none where none is scored."""

    @property
    def misfit(self) -> tuple[str, ...]:
        """Where the model and the rewards disagree, in sentences."""

    @property
    def n(self) -> Ints:
        """[M] completions with a reward."""

    @property
    def states(self) -> Floats:
        """[M, 3] probability of vanishing, learnable, solved."""

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that the verdict vanishing, learnable, solved would be wrong beyond indifference."""

    @property
    def std_limits(self) -> Floats:
        """[M, 2] 95% limits of the std under the policy, and never past the std of the completions; they never meet."""

    @property
    def limits(self) -> Limits:
        """95% limits of each prompt's mean, and of the two that a signal takes, for groups of the size of the zones."""

    @property
    def scale(self) -> float:
        """What gains and headroom are measured against: the width of a stated range, else the typical gain."""

    @property
    def shares(self) -> Floats:
        """[3, 3] share of prompts in each state: mean over these, and 95% limits for prompts like these."""

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        """Limits for these very prompts: at least `lo` of them may be called so, and at most `hi` must be called so.

        state  index into STATES: within indifference a prompt may be called so and need not, so `lo` may lie above `hi`
        level  with which both hold
        """

    def mixed(self, group_size: int) -> Floats:
        """[M] probability that a group of K is mixed."""

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] posterior mean and variance of pass@K, 1 − (1 − c)^K with c the `chance_of_best`: that a group holds one to learn from.

        Of graded rewards whose r* is not known, of the chance that a group is mixed and its best gains enough.
        """

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K: expected maximum of K rewards less the mean."""

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] expected share of mixed groups at each size: mean of `mixed` over these prompts, and 90% limits for prompts like these."""

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """The mean of `forecast` [S], and draws [draws, S] of what the share may be.

        Their quantiles are the limits of `forecast`, of graded rewards up to chance. Where a set has too few completions for such limits,
        both go out to what the counts allow.
        """

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """The largest mean error that these verdicts may have under any distribution that the counts allow; NaN where it is not known.

        verdict  [M] index into STATES; −1 for a prompt without one
        drop     how far below its top the log likelihood may lie
        enough   whether so large an error answers the question: the search ends there, at a value no larger than the limit
        realized whether it is the share of these very verdicts that are wrong, in which chance has a part, and not its mean
        """


def fit(evidence: Evidence, r_star: Floats, zones: Zones, sizes: Sequence[int] = (), *, clusters: Ints | None = None) -> FittedModel:
    """Fit the model of a set of prompts.

    r_star    [M] the achievable reward of each prompt, NaN where it is not known; of binary rewards it is the better of the two
    sizes     group sizes that will be asked for: of graded rewards their mixed groups are then counted in the same pass as all the rest
    clusters  [M] the task of each prompt, any integers: the limits of shares and forecast are then those for prompts of other tasks

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> rewards = np.r_[np.tile([0.0, 1.0], 32), np.zeros(64), np.ones(64)]
    >>> model = fit(evidence_of_rows(np.repeat([0, 1, 2], 64), rewards, 4), np.ones(4), Zones(0.05))
    >>> model.family, model.states.round(1).tolist()[:2], model.pass_at(8)[0].round(2).tolist()
    ('binary', [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.99, 0.08, 1.0, nan])
    """
    scored = evidence.n > 0
    if not scored.any():
        return _Unscored(evidence.n_prompts)
    part, r_star = evidence.subset(scored), r_star[scored]
    return spread(_fit_scored(part, r_star, zones, sizes), scored, None if clusters is None else clusters[scored])


def _fit_scored(evidence: Evidence, r_star: Floats, zones: Zones, sizes: Sequence[int]) -> FittedModel:
    if is_binary(evidence, zones, r_star):
        return BinaryModel.fit(evidence, zones)
    if evidence.support is None and evidence.n_prompts > MOST_FITTED:
        return RepresentedModel.fit(evidence, r_star, zones, sizes)
    return GradedModel.fit(evidence, r_star, zones, sizes)


def spread(model: FittedModel, rows: NDArray[np.bool_], clusters: Ints | None = None) -> FittedModel:
    """The model of a larger set, of which the prompts that `rows` [M] marks are fitted and the others have no reward.

    clusters  of those marked; where each has its own, as if there were none
    """
    if clusters is not None and len(np.unique(clusters)) == len(clusters):
        clusters = None
    return model if rows.all() and clusters is None else _Spread(model, rows, clusters)


@dataclass(frozen=True, eq=False)
class _Spread:
    """A model whose prompts are `rows` [M] of a larger set, and may come in clusters."""

    part: FittedModel
    rows: NDArray[np.bool_]
    clusters: Ints | None = None

    @property
    def family(self) -> str:
        return self.part.family

    @property
    def misfit(self) -> tuple[str, ...]:
        return self.part.misfit

    @property
    def n(self) -> Ints:
        n = np.zeros(len(self.rows), np.int64)
        n[self.rows] = self.part.n
        return n

    @property
    def states(self) -> Floats:
        return self._full(self.part.states)

    @property
    def loss(self) -> Floats:
        return self._full(self.part.loss)

    @property
    def std_limits(self) -> Floats:
        return self._full(self.part.std_limits)

    @property
    def limits(self) -> Limits:
        of = self.part.limits
        return Limits(self._full(of.mean), self._full(of.mixed), self._full(of.gain))

    @property
    def scale(self) -> float:
        return self.part.scale

    @cached_property
    def shares(self) -> Floats:
        limits, states = self.part.shares, self.part.states
        if self.clusters is None:
            return limits
        if self._few_clusters:
            return open_limits(limits[:, 0])
        shown = np.array([reliability(column) for column in states.T])
        return widened(limits, deviations(states, self.clusters, shown, np.random.default_rng(0)), level=0.95)

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        return self.part.set_limits(state, level)

    def mixed(self, group_size: int) -> Floats:
        return self._full(self.part.mixed(group_size))

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        mean, variance = self.part.pass_at(group_size)
        return self._full(mean), self._full(variance)

    def best_of(self, group_size: int) -> Floats:
        return self._full(self.part.best_of(group_size))

    def forecast(self, sizes: Sequence[int]) -> Floats:
        if self.clusters is None:
            return self.part.forecast(sizes)
        central, shares = self.mixed_shares(sizes)
        return open_limits(central) if self._few_clusters else with_limits(central, shares, level=0.9)

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        central, shares = self.part.mixed_shares(sizes, draws)
        if self.clusters is None:
            return central, shares
        rng = np.random.default_rng(0)
        if self._few_clusters:
            return central, rng.random(shares.shape)
        mixed = np.stack([self.part.mixed(k) for k in sizes], -1)
        shown = np.full(len(sizes), reliability(self.part.states[:, STATES.index("learnable")]))
        away = deviations(mixed, self.clusters, shown, rng)
        return central, np.clip(shares + away[rng.integers(0, len(away), draws)], 0.0, 1.0)

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        return self.part.worst_case_error(verdict[self.rows], drop, enough, realized=realized)

    @property
    def _few_clusters(self) -> bool:
        return self.clusters is not None and len(np.unique(self.clusters)) < FEW_CLUSTERS

    def _full(self, values: Floats) -> Floats:
        full = np.full((len(self.rows), *values.shape[1:]), np.nan)
        full[self.rows] = values
        return full


@dataclass(frozen=True)
class _Unscored:
    """No prompt has a reward: anything is possible."""

    n_prompts: int

    family: ClassVar[str] = "none"
    misfit: ClassVar[tuple[str, ...]] = ()

    @property
    def n(self) -> Ints:
        return np.zeros(self.n_prompts, np.int64)

    @property
    def states(self) -> Floats:
        return np.full((self.n_prompts, 3), np.nan)

    @property
    def loss(self) -> Floats:
        return np.full((self.n_prompts, 3), np.nan)

    @property
    def std_limits(self) -> Floats:
        return np.full((self.n_prompts, 2), np.nan)

    @property
    def limits(self) -> Limits:
        none = np.full((self.n_prompts, 2), np.nan)
        return Limits(none, none, none)

    @property
    def scale(self) -> float:
        return float("nan")

    @property
    def shares(self) -> Floats:
        return np.tile([np.nan, 0.0, 1.0], (3, 1))

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        return 0.0, 1.0

    def mixed(self, group_size: int) -> Floats:
        check_size(group_size)
        return np.full(self.n_prompts, np.nan)

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        return self.mixed(group_size), self.mixed(group_size)

    def best_of(self, group_size: int) -> Floats:
        return self.mixed(group_size)

    def forecast(self, sizes: Sequence[int]) -> Floats:
        for k in sizes:
            check_size(k)
        return np.tile([np.nan, 0.0, 1.0], (len(sizes), 1))

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        return np.full(len(sizes), np.nan), np.random.default_rng(0).random((draws, len(sizes)))

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        return float("nan")
