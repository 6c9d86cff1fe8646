"""Which of the failing prompts to label, in which order: four strategies behind one signature, on arrays, and those of other packages.

A strategy gets the prompts in an order drawn by the seed and the prompts' ids, so ties fall as they do in every other order of the run.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.core.extensions import Extension, find_extension, one_of
from flatspot.stats.evidence import Floats, Ints

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Failing:
    """M vanishing prompts.

    p_vanishing  [M] probability that the prompt is vanishing
    mean         [M] mean reward
    headroom     [M] the most that the prompt can still gain, at least 0: what is achievable less the mean; infinite where that is not known
    n_samples    [M] completions drawn of it
    prompts      [M, D] unit rows: what the prompts look like
    habits       [M, E] unit rows: what the policy answers to them
    demand       [M] whether the prompt stands for the set when coverage is summed; all, but for a sample of a large set
    ids          [M] the prompts' ids, for a strategy that has vectors of its own
    texts        [M] the prompts' texts, of chat messages their contents line by line; of a long one its two ends
    """

    p_vanishing: Floats
    mean: Floats
    headroom: Floats
    n_samples: Ints
    prompts: Features
    habits: Features
    demand: NDArray[np.bool_]
    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def weight(self) -> Floats:
        """[M] the reward that the prompt can still gain, by how surely it is vanishing; 0 outside the demand.

        A prompt of which it is not known how much that is counts as the mean of the others; where it is known of none, all count alike.
        """
        known = np.isfinite(self.headroom)
        typical = float(self.headroom[known].mean()) if known.any() else 1.0
        weight = np.where(self.demand, self.p_vanishing * np.where(known, self.headroom, typical), 0.0)
        return weight if weight.sum() > 0 else self.demand.astype(float)


class Strategy(Protocol):
    """The rows of `k` prompts (or all, where there are fewer), in the order to label them; an entry point of `flatspot.strategies` is one.

    failing  the prompts to choose from, in an order drawn by the seed
    k        how many; the choice of fewer is to be the beginning of this one
    gives    [min(k, M)] different whole numbers from 0 to M − 1
    """

    def __call__(self, failing: Failing, k: int) -> Ints:
        """Choose."""


def pick_random(failing: Failing, k: int) -> Ints:
    """The first k of the order drawn."""
    return np.arange(min(k, len(failing.mean)))


def pick_hardest(failing: Failing, k: int) -> Ints:
    """Largest probability of vanishing first; of equal ones the lowest mean, then the most completions drawn, then as drawn."""
    p = failing.p_vanishing.round(6)  # what differs by less is the fit's arithmetic
    return np.lexsort((-failing.n_samples, failing.mean, -p))[:k]


def pick_cover(failing: Failing, k: int) -> Ints:
    """k-center: from the first prompt drawn, always the one farthest from all chosen, by the prompts' features alone.

    The largest distance left is at most twice that of the best k centers (Gonzalez 1985).
    """
    points = failing.prompts
    k = min(k, len(points))
    chosen = np.zeros(k, np.int64)
    nearest = np.full(len(points), np.inf)
    for step in range(1, k + 1):
        nearest = np.minimum(nearest, 1.0 - points @ points[chosen[step - 1]])  # half the squared distance of unit rows
        nearest[chosen[:step]] = -1.0
        if step < k:
            chosen[step] = int(nearest.argmax())
    return chosen


def pick_facility_location(failing: Failing, k: int) -> Ints:
    """Facility location: greedily the prompt that adds most to the sum over prompts of weight × similarity to the nearest label.

    The sum is monotone and submodular, so the greedy choice reaches at least 1 − 1/e of the best k (Nemhauser, Wolsey and Fisher 1978).
    """
    demand = np.flatnonzero(failing.demand)
    return greedy(similarity(failing, np.arange(len(failing.mean)), demand), failing.weight[demand], k)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {"random": pick_random, "hardest": pick_hardest, "cover": pick_cover, "facility-location": pick_facility_location}
)


def find_strategy(name: str) -> Strategy:
    """The strategy of a name, a built-in one or one of another package; `SettingsError` where there is none."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    added = find_extension("strategies", name)
    if added is None:
        raise SettingsError(f"--strategy must be one of {one_of('strategies', STRATEGIES)}, got {name!r}")
    return lambda failing, k: _checked_choice(added, failing, k)


def _checked_choice(added: Extension, failing: Failing, k: int) -> Ints:
    """What the strategy of another package chose; raises `ExtensionError` where that is no choice of these prompts."""
    choose, m = added.load(), len(failing.mean)
    if not callable(choose):
        raise added.error(f"expected a function of (failing, k), got {type(choose).__name__}")
    with added.running():
        rows = np.asarray(choose(failing, k))
    if rows.ndim != 1 or not (np.issubdtype(rows.dtype, np.integer) or not rows.size):
        raise added.error(f"expected whole numbers, one per prompt to label, got {rows.dtype} of shape {list(rows.shape)}")
    if len(rows) != min(k, m) or len(np.unique(rows)) != len(rows) or (m and rows.size and not 0 <= rows.min() <= rows.max() < m):
        raise added.error(f"expected {min(k, m)} different rows from 0 to {m - 1}, got {rows.tolist()!s:.100}")
    return rows.astype(np.int64)


def similarity(failing: Failing, rows: Ints, columns: Ints) -> NDArray[np.float32]:
    """[R, C] how far a label for one prompt is taken to carry over to another: 1 for itself, 0 where they have nothing in common.

    The mean of two cosines, each cut at 0: of the prompts' texts, and of what the policy answers to them.
    """
    alike = 0.5 * np.clip(failing.prompts[rows] @ failing.prompts[columns].T, 0.0, 1.0)
    alike += 0.5 * np.clip(failing.habits[rows] @ failing.habits[columns].T, 0.0, 1.0)
    alike[rows[:, None] == columns[None, :]] = 1.0
    return np.asarray(alike, np.float32)


def greedy(similar: NDArray[np.float32], weight: Floats, k: int) -> Ints:
    """Lazy greedy on similar [candidate, prompt] >= 0 and weight [prompt] >= 0; of equal gains the first candidate.

    A candidate's gain only shrinks as others are chosen, so one that still leads after a fresh look is the best of all (Minoux 1978).

    >>> greedy(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], np.float32), np.array([1.0, 1.0, 0.5]), 2).tolist()
    [0, 2]
    """
    weight32 = weight.astype(np.float32)
    covered = np.zeros(similar.shape[1], np.float32)
    queue = [(-float(gain), at) for at, gain in enumerate(similar @ weight32)]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < k:
        _, at = heapq.heappop(queue)
        fresh = -float(np.maximum(similar[at] - covered, 0.0) @ weight32)
        if not queue or (fresh, at) <= queue[0]:
            chosen.append(at)
            covered = np.maximum(covered, similar[at])
        else:
            heapq.heappush(queue, (fresh, at))
    return np.array(chosen, np.int64)
