"""Rows that began alike are decoded once: a tree of nodes, each the rows of a prompt whose tokens so far are equal.

At each step every row draws its own token from its node's logits, and the node splits into one for each token that was drawn. Its first
child stays in its place of the cache; the others take the places of nodes whose rows have all ended, or new ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_DROP_SHARE = 32  # free places are closed once they are one in 32: closing copies as many nodes of the cache


def split(node: Ints, token: Ints, n_nodes: int) -> tuple[Ints, Ints, Ints]:
    """(parent [N] of each place, its token [N] or -1 where it is free, the place [R] of each row) after rows at `node` drew `token`.

    >>> [array.tolist() for array in split(np.array([0, 0, 2]), np.array([5, 7, 5]), 3)]
    [[0, 0, 2], [5, 7, 5], [0, 1, 2]]
    """
    kinds, row_kind = np.unique(np.stack([node, token]), axis=1, return_inverse=True)
    row_kind = row_kind.reshape(-1)
    first = np.r_[True, kinds[0, 1:] != kinds[0, :-1]]
    taken = kinds[0, first]
    free = np.setdiff1d(np.arange(n_nodes), taken)
    others = int((~first).sum())
    place = np.empty(kinds.shape[1], np.int64)
    place[first], place[~first] = taken, np.r_[free, np.arange(n_nodes, n_nodes + others)][:others]
    size = max(n_nodes, int(place.max()) + 1)
    parent, tokens = np.arange(size), np.full(size, -1)
    parent[place], tokens[place] = kinds[0], kinds[1]
    left = np.flatnonzero(tokens < 0)
    if len(left) * _DROP_SHARE >= size:  # the last nodes move to the free places
        keep = size - len(left)
        holes, last = left[left < keep], np.flatnonzero(tokens >= 0)[np.flatnonzero(tokens >= 0) >= keep]
        parent[holes], tokens[holes] = parent[last], tokens[last]
        moved = np.arange(size)
        moved[last] = holes
        place, parent, tokens = moved[place], parent[:keep], tokens[:keep]
    return parent, tokens, place[row_kind]
