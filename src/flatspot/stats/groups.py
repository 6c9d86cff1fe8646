"""Groups of completions in a trainer's generation batch: which rows belong together, and what each group's rewards say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints, reward_std, tolerance


@dataclass(frozen=True)
class Grouping:
    """Which rows make a group.

    group   [rows] index of each row's group, 0 … G − 1
    prompt  [G] the prompt of each group, as in the rows
    size    rows of a group; 0 where they differ
    whole   every group is `size` consecutive rows of one prompt, as trainers that average over groups assume
    """

    group: Ints
    prompt: Ints
    size: int
    whole: bool


@dataclass(frozen=True)
class GroupTable:
    """Per-group statistics of one or many generation batches, one array entry per group; [C, G] per reward component.

    prompt         [G] which prompt
    n_rows         [G] completions
    n              [G] of them with a reward
    mean, std      [G] of the weighted sum; std as `reward_std`: NaN under two scored, 0 where all are equal
    low, high      [G] smallest and largest; NaN where none is scored
    distinct       [G] distinct completions over completions
    truncated      [G] share cut by the token limit; NaN where not known
    repeats        [G] rows whose completion came before in the group with a reward
    unequal        [G] of them, how many got another reward than the time before
    part_mean, part_std, part_low, part_high, part_n   [C, G] the same of each component, before weights
    """

    prompt: Ints
    n_rows: Ints
    n: Ints
    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    distinct: Floats
    truncated: Floats
    repeats: Ints
    unequal: Ints
    part_mean: Floats
    part_std: Floats
    part_low: Floats
    part_high: Floats
    part_n: Ints

    @property
    def informative(self) -> NDArray[np.bool_]:
        """[G] whether the rewards of the group differ: only then does it have advantages other than 0."""
        return np.asarray(self.std > 0)


def group_rows(prompt: Ints, group_size: int | None = None) -> Grouping:
    """Find the groups in rows of prompts, in the order the trainer has them; checked, never assumed.

    prompt      [rows] which prompt each completion answers
    group_size  what the trainer says; None: the greatest common divisor of the runs of equal prompts

    Where the rows are not so many of one prompt at a time, all rows of a prompt are one group, and `whole` is False.

    >>> group_rows(np.array([7, 7, 3, 3, 7, 7])).group.tolist()
    [0, 0, 1, 1, 2, 2]
    >>> group_rows(np.array([7, 3, 7, 3])).group.tolist(), group_rows(np.array([7, 3, 7, 3])).whole
    ([0, 1, 0, 1], False)
    """
    n = len(prompt)
    if n == 0:
        return Grouping(prompt, prompt, 0, True)
    starts = np.flatnonzero(np.r_[True, prompt[1:] != prompt[:-1]])
    size = math.gcd(*np.diff(np.r_[starts, n]).tolist()) if group_size is None else group_size
    if (size > 1 or group_size == 1) and n % size == 0 and bool((prompt.reshape(-1, size) == prompt[::size, None]).all()):
        return Grouping(np.arange(n) // size, prompt[::size], size, True)
    distinct, first, place = np.unique(prompt, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # groups in the order their prompts come
    sizes = np.bincount(place)
    even = int(sizes[0]) if bool((sizes == sizes[0]).all()) else 0
    return Grouping(rank[place.reshape(-1)], distinct[np.argsort(first)], even, False)


def summarize(grouping: Grouping, total: Floats, parts: Floats, completion: Ints, truncated: Floats | None = None) -> GroupTable:
    """Statistics of each group.

    total       [rows] weighted sum, NaN = not scored
    parts       [C, rows] each component, NaN = not scored
    completion  [rows] a code of the completion's text: equal codes, equal texts
    truncated   [rows] 1 where the token limit cut it, NaN where not known
    """
    spread = _spread(np.concatenate([total[None], np.atleast_2d(parts)]), grouping)
    n, mean, std, low, high = _moments(spread)
    texts = _spread(np.asarray(completion, float), grouping)
    distinct, repeats, unequal = _repeated(texts, spread[0])
    n_rows = np.bincount(grouping.group, minlength=len(grouping.prompt))
    cut = np.full(len(n_rows), np.nan) if truncated is None else np.bincount(grouping.group, truncated) / n_rows
    return GroupTable(
        grouping.prompt, n_rows, n[0], mean[0], std[0], low[0], high[0], distinct / n_rows, cut, repeats, unequal,
        mean[1:], std[1:], low[1:], high[1:], n[1:],
    )  # fmt: skip


def joined(tables: Sequence[GroupTable]) -> GroupTable:
    """The groups of several batches as one table."""
    return GroupTable(*(np.concatenate([getattr(table, f.name) for table in tables], axis=-1) for f in fields(GroupTable)))


def weighted_total(parts: Floats, weights: Floats) -> Floats:
    """[rows] Σ weight · component over those that are scored, NaN where none is: what TRL sums.

    >>> weighted_total(np.array([[1.0, 0.0, np.nan], [0.5, np.nan, np.nan]]), np.array([1.0, 2.0])).tolist()
    [2.0, 0.0, nan]
    """
    scored = np.isfinite(parts)
    total = (np.where(scored, parts, 0.0) * weights[:, None]).sum(0)
    return np.where(scored.any(0), total, np.nan)


def _spread(values: Floats, grouping: Grouping) -> Floats:
    """[..., rows] as [..., G, largest group], NaN where a group has fewer rows."""
    group, n_groups = grouping.group, len(grouping.prompt)
    if grouping.whole:
        return values.reshape(*values.shape[:-1], n_groups, max(grouping.size, 1))
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=n_groups)
    full = np.full((*values.shape[:-1], n_groups, int(sizes.max())), np.nan)
    full[..., group[order], np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)] = values[..., order]
    return full


def _moments(values: Floats) -> tuple[Ints, Floats, Floats, Floats, Floats]:
    scored = np.isfinite(values)
    n = scored.sum(-1)
    some = n > 0
    mean = np.where(some, np.where(scored, values, 0.0).sum(-1) / np.maximum(n, 1), np.nan)
    low = np.where(some, np.where(scored, values, np.inf).min(-1), np.nan)
    high = np.where(some, np.where(scored, values, -np.inf).max(-1), np.nan)
    return n, mean, reward_std(values), low, high


def _repeated(texts: Floats, total: Floats) -> tuple[Ints, Ints, Ints]:
    """Distinct completions, repeated ones with a reward, and those repeated with another reward, of each group."""
    order = np.lexsort((total, texts))
    texts, total = np.take_along_axis(texts, order, -1), np.take_along_axis(total, order, -1)
    same = texts[:, 1:] == texts[:, :-1]  # NaN, where a group has fewer rows, equals nothing
    scored = same & np.isfinite(total[:, 1:]) & np.isfinite(total[:, :-1])
    low, high = np.where(scored, total[:, :-1], 0.0), np.where(scored, total[:, 1:], 0.0)
    unequal = scored & (high - low > tolerance(low, high))
    return np.isfinite(texts).sum(-1) - same.sum(-1), scored.sum(-1), unequal.sum(-1)
