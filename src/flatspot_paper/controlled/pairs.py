"""Which pairs of sentences the quick scale of STS-B uses: those that share all their words with others.

A word of one pair alone has a row in the embedding that no other pair's gradient reaches. Adam divides a gradient by its own size, so this
row moves by about the learning rate however small the pair's gradient is, and RL fits pairs whose gradient has vanished. What was measured:
experiments/controlled/LOG.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flatspot.core.errors import DatasetError
from flatspot_paper.controlled.data import Dataset, Pool


def keep_pairs(dataset: Dataset, tokens: Sequence[Sequence[int]], shared_by: int) -> Dataset:
    """The data set with the training pairs whose every word is in `shared_by` of them; its source says so. The test pairs stay.

    tokens  of each training pair

    Raises `DatasetError` where no pair is kept.
    """
    pairs = dataset.train.samples
    assert isinstance(pairs, list)
    once: dict[frozenset[str], int] = {}  # equal pairs with different labels could not both be fitted
    for i, pair in enumerate(pairs):
        once.setdefault(frozenset(pair), i)
    different = list(once.values())
    kept = [different[i] for i in sharing_words([tokens[i] for i in different], shared_by)]
    if not kept:
        raise DatasetError(
            f"among {len(pairs)} pairs of sentences none are left whose every word occurs in {shared_by} of them. "
            "Give STS-B in full, or --scale paper, which uses every pair."
        )
    train = Pool([pairs[i] for i in kept], dataset.train.labels[np.array(kept)])
    return replace(dataset, train=train, source=f"{dataset.source} ({len(kept)} pairs, each word in {shared_by} of them or more)")


def sharing_words(tokens: Sequence[Sequence[int]], shared_by: int) -> list[int]:
    """Positions of the largest set of pairs in which every token occurs in at least `shared_by` pairs; there is one such set.

    Pairs with a rarer token go, which makes other tokens rarer, until none goes.

    >>> sharing_words([[1, 2], [2, 1], [1, 3], [3, 4]], 2)
    [0, 1]
    """
    kept = list(range(len(tokens)))
    while True:
        found = Counter(token for i in kept for token in set(tokens[i]))
        left = [i for i in kept if all(found[token] >= shared_by for token in tokens[i])]
        if len(left) == len(kept):
            return kept
        kept = left
