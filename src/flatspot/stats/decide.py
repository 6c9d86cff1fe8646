"""Which verdicts are given: one rule, for rewards sampled by triage or by `diagnose`, or read from a log."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.intervals import moved_together
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.worst_case import DROP
from flatspot.stats.zones import STATES

FEWEST_REWARDS = 2  # of a verdict: one reward shows nothing of a std
# in a set of verdicts with little error the mean would leave room for one that is a coin toss
MOST_ERROR = 0.25
_TIE = 1e-6  # of an error: losses closer than this are equal
_DOUBT_LEVEL = 0.8  # of the limits that leave a set in doubt
_ROOM, _BY_CHANCE = 0.015, 1  # of the predicted error: what it may be off by, and verdicts that may be wrong by chance on top of that
_STRICTER, _LEAST = 0.8, 0.002  # how the mean error of the verdicts falls at a time, and the least share of the target that is tried


@dataclass(frozen=True)
class Decisions:
    """The first axis is the prompt.

    best     [M] index into STATES of the verdict given, or leaned to
    error    [M] probability that it is wrong; 1 without a scored completion
    decided  [M] whether it is given
    scored   [M] whether a completion has a reward
    no_limit whether the worst case was asked for, and none is known: they are given at a mean error all the same
    """

    best: Ints
    error: Floats
    decided: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    no_limit: bool = False

    @property
    def state(self) -> Ints:
        """[M] index into STATES of the verdict; −1 for a prompt without one."""
        return np.where(self.decided, self.best, -1)

    @property
    def predicted_error(self) -> float:
        """The mean error of the verdicts given; NaN where none is."""
        return float(self.error[self.decided].mean()) if self.decided.any() else float("nan")

    @property
    def verdict(self) -> NDArray[np.str_]:
        """[M] a state, "undecided", or "unscored"."""
        return np.where(~self.scored, "unscored", np.where(self.decided, np.array(STATES)[self.best], "undecided"))

    @property
    def leaning(self) -> NDArray[np.str_]:
        """[M] the least wrong state; "" where unscored."""
        return np.where(self.scored, np.array(STATES)[self.best], "")

    @property
    def error_probability(self) -> Floats:
        """[M] `error`; NaN where unscored."""
        return np.where(self.scored, self.error, np.nan)


def decide(loss: Floats, n: Ints, target: float, states: Floats | None = None) -> Decisions:
    """Each prompt leans to its least wrong verdict; the surest over the whole set are given while their mean error is at most `target`.

    loss : [M, 3] probability that each verdict would be wrong;  n : [M] scored completions
    states : [M, 3] probability of each state: within indifference two verdicts may be as little wrong, and the likelier one is meant

    The largest set of verdicts whose mean posterior error is at most alpha has a Bayes false discovery rate of alpha. Two kinds of verdict
    are never given, however small the error of the others is: one more likely wrong than a quarter, and one on fewer than two rewards,
    which show nothing of a std, unless it is proved: without any error.

    >>> loss = np.array([[0.01, 0.9, 1.0], [0.6, 0.3, 0.9], [0.001, 1.0, 1.0]])
    >>> decide(loss, np.array([9, 9, 1]), 0.05).verdict.tolist()
    ['vanishing', 'undecided', 'undecided']
    """
    scored = n > 0
    loss = np.where(scored[:, None], loss, 1.0)
    likelier = 0.0 if states is None else _TIE * np.where(scored[:, None], states, 0.0)
    best = (loss - likelier).argmin(-1)
    error = loss[np.arange(len(best)), best]
    candidates = ((n >= FEWEST_REWARDS) | (error == 0)) & (error <= MOST_ERROR)
    decided = np.zeros(len(n), bool)
    decided[candidates] = surest(error[candidates], target)
    return Decisions(best, error, decided, scored)


def surest(error: Floats, target: float) -> NDArray[np.bool_]:
    """The largest set of the smallest errors whose mean is at most the target; equal errors stand or fall together.

    >>> surest(np.array([0.0, 0.2, 0.04, 0.2]), 0.05).tolist()
    [True, False, True, False]
    """
    values, kind, size = np.unique(error.round(12), return_inverse=True, return_counts=True)
    mean = np.cumsum(values * size) / np.cumsum(size)
    good = np.flatnonzero(mean <= target + 1e-12)
    return np.asarray(kind.reshape(-1) <= (good[-1] if len(good) else -1))


def give_verdicts(model: FittedModel, target: float, *, worst_case: bool) -> Decisions:
    """The verdicts of `decide`; with `worst_case`, as many of them as leave even their worst-case error at most `target`, maybe none.

    That error is the realized one, of these very verdicts. Where no limit is known, for continuous rewards, `worst_case` changes nothing,
    and `no_limit` says so.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> ones = np.r_[np.zeros(60, int), np.ones(10, int), np.full(30, 4)]  # of 8 rewards
    >>> rewards = (np.arange(8) < ones[:, None]).astype(float)
    >>> model = fit(evidence_of_rows(np.repeat(np.arange(100), 8), rewards.ravel(), 100), np.ones(100), Zones(0.05))
    >>> [int(give_verdicts(model, 0.05, worst_case=w).decided.sum()) for w in (False, True)]
    [100, 30]
    """
    decisions, mean = decide(model.loss, model.n, target, model.states), target
    while worst_case and may_exceed(model, decisions, target, worst_case=True):
        fewer = decisions
        while mean > _LEAST * target and fewer.decided.sum() == decisions.decided.sum():
            mean *= _STRICTER
            fewer = decide(model.loss, model.n, mean, model.states)
        if mean <= _LEAST * target:
            return replace(decisions, decided=np.zeros_like(decisions.decided))
        decisions = fewer
    no_limit = worst_case and bool(decisions.decided.any()) and np.isnan(model.worst_case_error(decisions.state, enough=lambda _: True))
    return replace(decisions, no_limit=bool(no_limit))


def may_exceed(model: FittedModel, decisions: Decisions, target: float, *, worst_case: bool) -> bool:
    """Whether the error of the verdicts may be above the target (`worst_case`), or far above it (`far_above`).

    What the worst-case error says, without a search for a larger one once one is too large.
    """

    def exceeds(limit: float) -> bool:
        return limit > target if worst_case else far_above(limit, target)

    return exceeds(model.worst_case_error(decisions.state, DROP, exceeds, realized=worst_case))


def in_doubt(model: FittedModel, state: int, limit: float, margin: float) -> bool:
    """Whether the share of these very prompts that are in a state may lie on either side of a limit, by more than a margin.

    state   index into STATES: prompts within indifference count on the side on which less is wrong

    Either side has a chance of one in ten, by `FittedModel.set_limits`.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.models.fitted import fit
    >>> from flatspot.stats.zones import Zones
    >>> def drawn(n, ones):
    ...     rewards = (np.arange(n) < np.array(ones)[:, None]).astype(float)
    ...     return fit(evidence_of_rows(np.repeat(np.arange(40), n), rewards.ravel(), 40), np.ones(40), Zones(0.05))
    >>> in_doubt(drawn(4, [0] * 12 + [2] * 28), 0, 0.2, 0.03), in_doubt(drawn(64, [0] * 12 + [32] * 28), 0, 0.2, 0.03)
    (True, False)
    """
    lo, hi = model.set_limits(state, _DOUBT_LEVEL)
    return lo <= limit - margin and limit + margin < hi


def rests_on_fit(limit: float, predicted: float, n_verdicts: int) -> bool:
    """Whether a worst-case error is so far above the predicted one that this holds only if the fitted distribution is about right.

    By more than `_ROOM`, and what so many verdicts may be off by chance alone. Few completions leave smooth sets and sets that crowd at a
    threshold alike, so nothing else than the limit tells (`design/0039-what-an-error-rests-on.md`).

    >>> rests_on_fit(0.13, 0.04, 300), rests_on_fit(0.02, 0.01, 300), rests_on_fit(float("nan"), 0.04, 300)
    (True, False, False)
    """
    return n_verdicts > 0 and limit > predicted + _ROOM + _BY_CHANCE / n_verdicts


def shapes_in_doubt(error: Floats) -> bool:
    """Whether verdicts on continuous rewards, with these error probabilities [M], rest on the shapes: no worst case of those is known."""
    return len(error) > 0 and rests_on_fit(float(moved_together(error)), float(error.mean()), len(error))


def far_above(limit: float, target: float) -> bool:
    """Whether a worst-case error is too far above the target: over three and a half times, and over 5 points.

    Below that, sets on which the fit is right are flagged as often as sets on which it is not; at three times, triage would sample more
    than its benchmark allows on sets where the error is met without (benchmarks/triage, "no atoms").

    >>> far_above(0.18, 0.05), far_above(0.05, 0.01), far_above(float("nan"), 0.05)
    (True, False, False)
    """
    return limit > 3.5 * target and limit - target > 0.05
