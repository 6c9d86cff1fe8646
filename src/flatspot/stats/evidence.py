"""What the samples say of each prompt: counts and moments, one array entry per prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rewards closer than this share of their magnitude are one value: float32 noise on equal rewards reaches 1e-7.
RELATIVE_TOLERANCE = 1e-6
# the same in SQL, of a group of rows with a column `reward`
EQUAL_REWARDS = f"max(reward) - min(reward) <= {RELATIVE_TOLERANCE} * greatest(abs(max(reward)), abs(min(reward)))"
# A reward with more distinct values over the whole set is treated as continuous, and so is one whose values hardly ever come twice.
MAX_SUPPORT = 32
_REPEATED_SHARE = 0.5


@dataclass(frozen=True)
class Tally:
    """What was seen, without order: one entry per distinct (prompt, reward), ascending.

    prompt  [R] index of the prompt
    reward  [R]
    count   [R] how many samples of the prompt earned it
    """

    prompt: Ints
    reward: Floats
    count: Ints


@dataclass(frozen=True)
class Evidence:
    """The scored rewards of M prompts, reduced to what every estimator here needs.

    n          [M] scored samples
    mean       [M] mean reward; NaN at n = 0
    std        [M] within-prompt std, ddof 1; NaN under two samples; exactly 0 where max - min is within tolerance
    low, high  [M] smallest and largest reward; NaN at n = 0
    mode       [M] most frequent reward (ties: the smallest); NaN at n = 0
    n_mode     [M] how many samples equal the mode
    support    [V] the distinct rewards of the whole set, ascending, where V <= 32 and they repeat; else None
    counts     [M, V] how often each was seen; None with `support`
    tally      every distinct reward of every prompt
    """

    n: Ints
    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    mode: Floats
    n_mode: Ints
    tally: Tally = field(repr=False)
    support: Floats | None = None
    counts: Ints | None = None

    @property
    def n_prompts(self) -> int:
        """M."""
        return len(self.n)

    def subset(self, rows: NDArray[np.bool_]) -> Evidence:
        """The prompts that `rows` [M] marks."""
        place, kept = np.cumsum(rows) - 1, rows[self.tally.prompt]
        per_prompt = {name: getattr(self, name)[rows] for name in ("n", "mean", "std", "low", "high", "mode", "n_mode")}
        tally = Tally(place[self.tally.prompt[kept]], self.tally.reward[kept], self.tally.count[kept])
        return Evidence(**per_prompt, tally=tally, support=self.support, counts=None if self.counts is None else self.counts[rows])


def reward_std(rewards: Floats, *, axis: int = -1) -> Floats:
    """Within-prompt std, ddof 1, ignoring NaN: NaN under two scored samples, 0 where max - min is within tolerance.

    rewards : [..., draw], NaN = not scored

    >>> reward_std(np.array([[0.1, 0.1, 0.1], [0.0, 1.0, np.nan], [1.0, np.nan, np.nan]])).round(4).tolist()
    [0.0, 0.7071, nan]
    """
    scored = np.isfinite(rewards)
    n = scored.sum(axis)
    values = np.where(scored, rewards, 0.0)
    mean = values.sum(axis) / np.maximum(n, 1)
    deviations = np.where(scored, rewards - np.expand_dims(mean, axis), 0.0)
    variance = (deviations**2).sum(axis) / np.maximum(n - 1, 1)
    low = np.where(scored, rewards, np.inf).min(axis, initial=np.inf)
    high = np.where(scored, rewards, -np.inf).max(axis, initial=-np.inf)
    flat = high - low <= tolerance(low, high)
    return np.where(n < 2, np.nan, np.where(flat, 0.0, np.sqrt(variance)))


def tolerance(low: Floats, high: Floats) -> Floats:
    """How far apart two rewards may lie and still be one value: a relative tolerance, 0 where a limit is infinite."""
    size = np.maximum(np.abs(low), np.abs(high))
    return np.where(np.isfinite(size), RELATIVE_TOLERANCE * size, 0.0)


def evidence_of_rows(prompt: Ints, reward: Floats, n_prompts: int) -> Evidence:
    """Reduce long rows to evidence: `prompt[i]` is the index of row i's prompt, NaN rewards are not scored.

    >>> e = evidence_of_rows(np.array([0, 0, 1, 1]), np.array([0.0, 1.0, 0.0, np.nan]), 3)
    >>> e.n.tolist(), e.mean.tolist(), e.support.tolist()
    ([2, 1, 0], [0.5, 0.0, nan], [0.0, 1.0])
    """
    return evidence_of_counts(prompt, reward, np.ones(len(prompt), np.int64), n_prompts)


def evidence_of_counts(prompt: Ints, reward: Floats, count: Ints, n_prompts: int) -> Evidence:
    """The same from rows that stand for `count[i]` samples of prompt `prompt[i]` with reward `reward[i]`, in any order."""
    scored = np.isfinite(reward)
    prompt, value, length = _runs(prompt[scored], merge_equal(reward[scored]), count[scored])
    n = np.bincount(prompt, length, n_prompts).astype(np.int64)
    mean = np.bincount(prompt, length * value, n_prompts) / np.where(n > 0, n, np.nan)
    squares = np.bincount(prompt, length * (value - mean[prompt]) ** 2, n_prompts)
    low, high = np.full(n_prompts, np.nan), np.full(n_prompts, np.nan)
    low[prompt[::-1]] = value[::-1]  # runs ascend within a prompt, and the last write wins
    high[prompt] = value
    mode, n_mode = np.full(n_prompts, np.nan), np.zeros(n_prompts, np.int64)
    starts = np.flatnonzero(np.diff(prompt, prepend=-1))
    n_mode[prompt[starts]] = np.maximum.reduceat(length, starts) if len(starts) else 0
    commonest = np.flatnonzero(length == n_mode[prompt])[::-1]  # of several, the smallest comes last
    mode[prompt[commonest]] = value[commonest]
    std = np.where(n < 2, np.nan, np.where(high <= low, 0.0, np.sqrt(squares / np.maximum(n - 1, 1))))
    support, counts = _support(prompt, value, length, n_prompts)
    return Evidence(n, mean, std, low, high, mode, n_mode, Tally(prompt, value, length), support, counts)


def _runs(prompt: Ints, value: Floats, count: Ints) -> tuple[Ints, Floats, Ints]:
    """One entry per distinct (prompt, value), ascending, with its number of samples."""
    if len(prompt) == 0:
        return prompt, value, count
    order = np.lexsort((value, prompt))
    prompt, value = prompt[order], value[order]
    starts = np.flatnonzero(np.r_[True, (prompt[1:] != prompt[:-1]) | (value[1:] != value[:-1])])
    return prompt[starts], value[starts], np.add.reduceat(count[order], starts)


def merge_equal(values: Floats) -> Floats:
    """Snap rewards that differ by rounding alone to one value, for any order of `values`.

    >>> merge_equal(np.array([0.7, np.float32(0.7), 1.0])).tolist()
    [0.699999988079071, 0.699999988079071, 1.0]
    """
    distinct, inverse = np.unique(values, return_inverse=True)
    if len(distinct) < 2:
        return values
    starts = np.flatnonzero(np.r_[True, np.diff(distinct) > tolerance(distinct[:-1], distinct[1:])])
    ends = np.r_[starts[1:], len(distinct)] - 1
    # many close neighbors in a row are a continuous reward seen often, not one value: those stay as they are
    one_value = distinct[ends] - distinct[starts] <= tolerance(distinct[starts], distinct[ends])
    group = np.repeat(np.arange(len(starts)), ends - starts + 1)
    representative = np.where(one_value[group], distinct[starts][group], distinct)
    merged: Floats = representative[inverse]
    return merged


def _support(prompt: Ints, value: Floats, length: Ints, n_prompts: int) -> tuple[Floats | None, Ints | None]:
    if len(support := np.unique(value)) > MAX_SUPPORT:
        return None, None
    place = np.searchsorted(support, value)
    sizes = np.bincount(place, length) if len(value) else np.zeros(0)
    if sizes[sizes > 1].sum() < _REPEATED_SHARE * sizes.sum() and len(support) > 2:
        return None, None
    counts = np.zeros((n_prompts, len(support)), np.int64)
    counts[prompt, place] = length
    return support, counts


def distinct(*columns: NDArray[Any]) -> tuple[tuple[NDArray[Any], ...], Ints, Ints]:
    """(each column [C] at the distinct rows in ascending order, which of them each of the M rows is [M], how many rows are each [C]).

    The same as `np.unique` of the stacked columns with axis=0, which sorts whole rows and so takes ten times as long; of NaN, which
    equals no other there, there is one kind.

    >>> (n, hits), place, size = distinct(np.array([4, 2, 4, 4]), np.array([1, 0, 0, 1]))
    >>> n.tolist(), hits.tolist(), place.tolist(), size.tolist()
    ([2, 4, 4], [0, 0, 1], [2, 0, 1, 2], [1, 1, 2])
    """
    code: Ints = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, at = np.unique(column, return_inverse=True)
        if len(values) > 1:  # places among the rows so far, so that the product stays below M squared
            code = np.unique(code * len(values) + at.reshape(-1), return_inverse=True)[1].reshape(-1)
    first, size = np.zeros(int(code.max(initial=-1)) + 1, np.int64), np.bincount(code)
    first[code] = np.arange(len(code))
    return tuple(column[first] for column in columns), code, size
