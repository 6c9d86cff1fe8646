"""The pairs of sentences for the quick scale of STS-B: those that share all their words with others.

If a word occurs in one pair only, no other pair's gradient reaches its row of the embedding. Adam divides a gradient by its own size,
so this row moves by about the learning rate however small the pair's gradient is, and RL fits pairs whose gradient has vanished.
The measurements are in experiments/controlled/LOG.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flatspot.core.errors import DatasetError
from flatspot_paper.controlled.data import Dataset, Pool


def keep_pairs(dataset: Dataset, tokens: Sequence[Sequence[int]], shared_by: int) -> Dataset:
    """The data set with only the training pairs whose words are each in at least `shared_by` of them, and a source that states this.

    tokens  of each training pair

    The test pairs do not change. Raises `DatasetError` if no pair remains.
    """
    pairs = dataset.train.samples
    if not isinstance(pairs, list):
        raise TypeError(f"expected pairs of sentences, got {type(pairs).__name__}")
    once: dict[frozenset[str], int] = {}  # equal pairs with different labels could not both be fitted
    for i, pair in enumerate(pairs):
        once.setdefault(frozenset(pair), i)
    distinct = list(once.values())
    remaining = [distinct[i] for i in sharing_words([tokens[i] for i in distinct], shared_by)]
    if not remaining:
        raise DatasetError(
            f"among {len(pairs)} pairs of sentences there are none whose words each occur in {shared_by} of them. "
            "Use the complete STS-B, or --scale paper, which uses every pair."
        )
    train = Pool([pairs[i] for i in remaining], dataset.train.labels[np.array(remaining)])
    return replace(dataset, train=train, source=f"{dataset.source} ({len(remaining)} pairs, each word in {shared_by} of them or more)")


def sharing_words(tokens: Sequence[Sequence[int]], shared_by: int) -> list[int]:
    """Positions of the largest set of pairs in which every token occurs in at least `shared_by` pairs; there is one such set.

    Pairs with a rarer token are removed, which makes other tokens rarer, until no pair is removed.

    >>> sharing_words([[1, 2], [2, 1], [1, 3], [3, 4]], 2)
    [0, 1]
    """
    pairs = list(range(len(tokens)))
    while True:
        counts = Counter(token for i in pairs for token in set(tokens[i]))
        remaining = [i for i in pairs if all(counts[token] >= shared_by for token in tokens[i])]
        if len(remaining) == len(pairs):
            return pairs
        pairs = remaining
