"""What was drawn, in the order it was drawn: checked on the way in, never dropped afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from flatspot.core.errors import FlatspotError
from flatspot.stats.evidence import Evidence, Floats, Ints, evidence_of_rows, tolerance

Draw = Callable[[Ints, int], Any]


class DrawError(FlatspotError):
    """`draw` failed or returned something that is no reward. Nothing is lost: `draws` holds all rewards accepted before.

    draws     `Draws`; give it back as `triage(..., resume=error.draws)` to resume
    returned  what the failing call returned; None where it raised
    """

    def __init__(self, message: str, draws: Draws, returned: Any = None) -> None:
        super().__init__(message)
        self.draws = draws
        self.returned = returned


@dataclass(frozen=True)
class Draws:
    """The rewards of M prompts, round by round; a NaN reward was drawn but not scored.

    rounds   ((indices [m], rewards [m, k]), ...) in the order drawn; an index appears at most once in a round
    drawn    [M] completions
    scored   [M] completions with a reward
    first    [M] how many of these equal `values[0]`; what it counts ends with a third value
    values   the distinct rewards in the order of their first appearance, up to three
    low, high  the smallest and the largest reward so far; NaN before any
    """

    drawn: Ints
    scored: Ints
    first: Ints
    values: tuple[float, ...] = ()
    low: float = np.nan
    high: float = np.nan
    rounds: tuple[tuple[Ints, Floats], ...] = field(default=(), repr=False)

    @classmethod
    def none(cls, n_prompts: int) -> Draws:
        """Nothing yet.

        >>> Draws.none(2).rewards.shape
        (2, 0)
        """
        zero = np.zeros(n_prompts, np.int64)
        return cls(zero, zero, zero)

    @property
    def n_prompts(self) -> int:
        """M."""
        return len(self.drawn)

    @property
    def total(self) -> int:
        """Completions, scored or not."""
        return int(self.drawn.sum())

    @property
    def binary(self) -> bool:
        """Whether no third distinct reward has turned up."""
        return len(self.values) <= 2

    @cached_property
    def rewards(self) -> Floats:
        """[M, most completions of any prompt] every reward, in the order drawn; NaN where unscored and past a prompt's last."""
        table = np.full((self.n_prompts, int(self.drawn.max(initial=0))), np.nan)
        used = np.zeros(self.n_prompts, np.int64)
        for indices, rewards in self.rounds:
            table[indices[:, None], used[indices][:, None] + np.arange(rewards.shape[1])] = rewards
            used[indices] += rewards.shape[1]
        return table

    def add(self, indices: Ints, rewards: Floats) -> Draws:
        """These and [m, k] more; the caller has checked them."""
        drawn, scored, first = self.drawn.copy(), self.scored.copy(), self.first
        drawn[indices] += rewards.shape[1]
        has_reward = np.isfinite(rewards)
        scored[indices] += has_reward.sum(-1)
        values = self._values_with(rewards[has_reward])
        if len(values) in (1, 2):
            first = first.copy()
            first[indices] += (has_reward & _same(rewards, values[0])).sum(-1)
        low, high = self.low, self.high
        if has_reward.any():
            low, high = float(np.fmin(low, rewards[has_reward].min())), float(np.fmax(high, rewards[has_reward].max()))
        return Draws(drawn, scored, first, values, low, high, (*self.rounds, (indices, rewards)))

    def _values_with(self, fresh: Floats) -> tuple[float, ...]:
        values = self.values
        while len(values) < 3 and len(fresh):
            for value in values:
                fresh = fresh[~_same(fresh, value)]
            if len(fresh):
                values = (*values, float(fresh.min()))  # the smallest, so that the order of prompts does not matter
        return values

    def hits(self, high: float) -> Ints:
        """[M] how many of a prompt's rewards equal `high`, in binary draws."""
        if not self.values:
            return np.zeros(self.n_prompts, np.int64)
        if _same(np.array(self.values[0]), high):
            return self.first
        return self.scored - self.first if len(self.values) > 1 else np.zeros(self.n_prompts, np.int64)

    def rows(self) -> tuple[Ints, Floats]:
        """(prompt [R], reward [R]) every completion in the order drawn, NaN where unscored."""
        if not self.rounds:
            return np.zeros(0, np.int64), np.zeros(0)
        prompt = [np.repeat(indices, rewards.shape[1]) for indices, rewards in self.rounds]
        return np.concatenate(prompt), np.concatenate([rewards.reshape(-1) for _, rewards in self.rounds])

    def evidence(self) -> Evidence:
        """The scored rewards, reduced: from every row."""
        return evidence_of_rows(*self.rows(), self.n_prompts)


def _same(rewards: Floats, value: float) -> Any:
    return np.abs(rewards - value) <= tolerance(rewards, np.asarray(value))


def checked(draws: Draws, indices: Ints, k: int, returned: Any, reward_range: tuple[float, float] | None) -> Floats:
    """What a draw returned, as [m, k] floats; raises `DrawError` naming the first prompt that is wrong."""
    try:
        rewards = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = f"draw(indices, {k}) must return numbers (NaN for a reward that failed), got {type(returned).__name__}: {error}"
        raise DrawError(message, draws, returned) from error
    if rewards.shape != (len(indices), k):
        raise DrawError(
            f"draw(indices, {k}) was asked for prompts {_some(indices)} and must return an array of shape ({len(indices)}, {k}), "
            f"one row a prompt; it returned shape {rewards.shape}",
            draws,
            returned,
        )
    lo, hi = reward_range if reward_range is not None else (-np.inf, np.inf)
    slack = tolerance(np.asarray(lo), np.asarray(hi)) + 1e-9
    bad = np.isinf(rewards) | (rewards < lo - slack) | (rewards > hi + slack)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        value, allowed = rewards[row, column], f"the reward range [{lo:g}, {hi:g}]" if reward_range else "the finite numbers"
        raise DrawError(
            f"prompt {indices[row]}: draw returned the reward {value:g}, outside {allowed} ({int(bad.sum())} such rewards in this call). "
            "Give the range the reward really has as reward_range, or fix the reward; NaN stands for a reward that failed",
            draws,
            returned,
        )
    return rewards


def ask(draw: Draw, draws: Draws, indices: Ints, k: int, reward_range: tuple[float, float] | None, earlier: Draws | None = None) -> Floats:
    """[m, k] rewards: from `earlier` as far as it reaches, the rest from `draw`; raises `DrawError`."""
    rewards = np.full((len(indices), k), np.nan)
    missing = np.full(len(indices), k)
    if earlier is not None:
        missing = np.clip(draws.drawn[indices] + k - earlier.drawn[indices], 0, k)
        table, columns = earlier.rewards, draws.drawn[indices][:, None] + np.arange(k)
        there = columns < earlier.drawn[indices][:, None]
        rewards[there] = table[np.broadcast_to(indices[:, None], there.shape)[there], columns[there]]
    for count in np.unique(missing[missing > 0]):
        rows = np.flatnonzero(missing == count)
        try:
            returned = draw(indices[rows], int(count))
        except Exception as error:
            raise DrawError(
                f"draw failed on prompts {_some(indices[rows])}: {type(error).__name__}: {error}", _with(earlier, draws)
            ) from error
        rewards[rows, k - count :] = checked(_with(earlier, draws), indices[rows], int(count), returned, reward_range)
    return rewards


def _with(earlier: Draws | None, draws: Draws) -> Draws:
    """Whichever holds more: a call that resumes must not lose what it has not yet used again."""
    return earlier if earlier is not None and earlier.total > draws.total else draws


def _some(indices: Ints) -> str:
    text = ", ".join(str(int(i)) for i in indices[:3])
    return f"{text}, … ({len(indices)} prompts)" if len(indices) > 3 else text
