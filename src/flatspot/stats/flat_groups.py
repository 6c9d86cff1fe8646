"""How many groups of equal rewards there must have been among groups of which only those with different rewards are known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flatspot.stats.evidence import Ints


def fewest_flat(lows: Mapping[int, Ints], highs: Mapping[int, Ints]) -> float:
    """A lower estimate of the flat groups that belong to these mixed ones, whatever the distribution of the prompts.

    lows    group size K → counts [K + 1]: how many mixed groups have j rewards that are not the lowest of all, j = 0 … K
    highs   likewise, of rewards that are not the highest of all

    Each group is K draws of which each is the lowest with a probability of the prompt's own, whatever that is. Of such a mixture,
    f(0) ≥ (K − 1)/K · f(1)² / 2f(2) (Chao's bound for the class that is not seen, here with its correction for few groups), and, as
    P(flat) is least at 1/2, no fewer than 2/(2^K − 2) of the mixed groups. The latter alone is taken where K is 2.

    >>> import numpy as np
    >>> fewest_flat({2: np.array([0, 10, 0])}, {2: np.array([0, 10, 0])})
    10.0
    >>> round(fewest_flat({8: np.array([0, 6, 5, 4, 3, 0, 0, 0, 0])}, {8: np.array([0, 0, 0, 0, 0, 3, 4, 5, 6])}), 2)
    2.19
    """
    total = 0.0
    for k, counts in lows.items():
        n = int(counts[1:k].sum())
        seen = [_unseen(k, each) for each in (counts, highs[k])] if k > 2 else []
        total += max(sum(seen), 2.0 * n / (2.0**k - 2.0) if 1 < k < 60 else 0.0)
    return total


def evenly_flat(groups: Mapping[int, int], values: int) -> float:
    """The flat groups to be expected of prompts whose probabilities of the rewards are spread evenly.

    groups  group size K → how many groups of it there are
    values  how many rewards there are, m

    With probabilities drawn evenly from the simplex, each of the C(K + m - 1, m - 1) outcomes is as likely as any other, and m of them are
    flat: of 0 and 1, 2/(K + 1). Trainings have more, for they hold prompts that are never or always solved.

    >>> evenly_flat({8: 36}, 2), evenly_flat({8: 36}, 3)
    (8.0, 2.4)
    """
    m = max(values, 2)
    return sum(n * m / math.comb(k + m - 1, m - 1) for k, n in groups.items() if k > 1)


def _unseen(k: int, counts: Ints) -> float:
    one, two = int(counts[1]), int(counts[2])
    return (k - 1) / k * one * (one - 1) / (2 * (two + 1))
