"""What the prompts of a batch begin with alike, so that it is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[int]

_MANY = np.iinfo(np.int64).max
_LESS = 0.8  # of the work without prefixes: a second pass through the model has a cost of its own


@dataclass(frozen=True)
class Prefixes:
    """Prompts in two parts: prompt p is `prefixes[of[p]]` and then `rests[p]`. No part is empty."""

    prefixes: list[Ids]
    of: list[int]
    rests: list[Ids]


def split_prefixes(prompts: Sequence[Ids]) -> Prefixes | None:
    """The split of the prompts into prefixes and rests that is the least work; None where that is not much less than to read each whole.

    Prompts are sorted, and neighbors with at least m tokens in common share all that their group has in common; m is tried at every
    value that occurs. The work is the number of tokens with their padding: groups · longest prefix + prompts · longest rest.

    >>> split_prefixes([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7], [1, 2, 3, 4, 8]])
    Prefixes(prefixes=[[1, 2, 3, 4]], of=[0, 0, 0], rests=[[5], [6, 7], [8]])
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    if len(prompts) < 2 or lengths.min() < 2:
        return None
    order = sorted(range(len(prompts)), key=lambda p: tuple(prompts[p]))
    shared = np.array([_common(prompts[a], prompts[b]) for a, b in pairwise(order)])
    tried = [_Grouping.of(shared, lengths[order], least) for least in np.unique(shared[shared > 0]).tolist()]
    best = min(tried, key=lambda grouping: grouping.work, default=None)
    if best is None or best.work > _LESS * len(prompts) * lengths.max():
        return None
    split = Prefixes([], [0] * len(prompts), [[]] * len(prompts))
    for p, group, prefix in zip(order, best.group.tolist(), best.prefix.tolist(), strict=True):
        if group == len(split.prefixes):
            split.prefixes.append(prompts[p][:prefix])
        split.of[p], split.rests[p] = group, prompts[p][prefix:]
    return split


def _common(a: Ids, b: Ids) -> int:
    """How many tokens two prompts begin with alike, of which each keeps one for its rest."""
    most = min(len(a), len(b)) - 1
    return next((i for i in range(most) if a[i] != b[i]), most)


@dataclass(frozen=True)
class _Grouping:
    """Of prompts in their order: the number of the group of each, the length of its prefix, and the work."""

    group: NDArray[np.int64]
    prefix: NDArray[np.int64]
    work: int

    @classmethod
    def of(cls, shared: NDArray[np.int64], lengths: NDArray[np.int64], least: int) -> _Grouping:
        """Neighbors with `least` tokens in common are in one group; a prompt alone is split where that pads least."""
        starts = np.concatenate([[True], shared < least])
        first, group = np.flatnonzero(starts), np.cumsum(starts) - 1
        common = np.minimum.reduceat(np.where(starts, _MANY, np.concatenate([[_MANY], shared])), first)
        longest = common[common < _MANY].max()
        prefix = np.where(common < _MANY, common, np.minimum(lengths[first] - 1, longest))[group]
        return cls(group, prefix, int(len(first) * prefix.max() + len(lengths) * (lengths - prefix).max()))
