"""What a run in progress shows: numbers of each generation batch, of the last batches together, and of each prompt so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.discounted import DiscountedStates
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.groups import GroupTable, group_rows, joined, summarise, weighted_total
from flatspot.stats.zones import STATES, Zones, epsilon_for_group, range_seen

WINDOW_GROUPS = 256  # groups that alarms look back on, at most
_WINDOW_BATCHES = 64


@dataclass(frozen=True)
class Batch:
    """The scored rows of one generation batch, of all processes, in the trainer's order.

    step        the policy update that drew them; None where the trainer does not say
    prompt      [rows] number of each row's prompt, from 0 as they first came
    parts       [C, rows] rewards of each component, NaN = not scored
    completion  [rows] a code of the completion's text
    truncated   [rows] 1 or 0, NaN where not known
    errors      how many rows failed for a stated reason: an exception, or a value that is no number
    is_eval     drawn for an evaluation: shown, but no part of the training
    """

    step: int | None
    prompt: Ints
    parts: Floats
    completion: Ints
    truncated: Floats
    errors: int
    is_eval: bool


@dataclass(frozen=True)
class Scoring:
    """How the trainer makes one reward of several.

    weights          [C]
    clip             limits that the sum is cut to (RLOO's reward_clip_range); None: none
    each_normalised  each component is divided by its own group std before they are summed
    """

    weights: Floats
    clip: tuple[float, float] | None = None
    each_normalised: bool = False

    def equals(self, other: Scoring) -> bool:
        """Whether the same rewards make the same total."""
        same = (self.clip, self.each_normalised) == (other.clip, other.each_normalised)
        return same and np.array_equal(self.weights, other.weights)


@dataclass(frozen=True)
class Window:
    """The last batches of training, together.

    table        their groups
    informative  [G] whether a group has advantages other than 0, as the trainer scores it
    lo, hi       the reward's range: declared, or what was seen of it so far
    whole        every batch came in groups of the size the trainer says
    errors       rows that failed for a stated reason
    clipped      [G] groups whose rewards differ until the trainer cuts them to its limits
    """

    table: GroupTable
    informative: NDArray[np.bool_]
    lo: float
    hi: float
    whole: bool
    errors: int
    clipped: NDArray[np.bool_]
    names: tuple[str, ...]
    weights: Floats


class Live:
    """The numbers of a run in progress, kept as batches come in; no files, no trainer."""

    def __init__(self, names: Sequence[str], declared: tuple[float, float] | None = None) -> None:
        self.names, self.declared = tuple(names), declared
        self.scoring = Scoring(np.ones(len(self.names)))
        self.reachable = -math.inf  # the best that a reference answer earns
        self.forget()

    def forget(self) -> None:
        """Begin anew: what came so far is drawn again, or was scored otherwise than what is to come."""
        self.states = DiscountedStates()
        self.seen: tuple[float, float] = (math.inf, -math.inf)
        self.between = False  # a reward strictly inside the range was seen
        self._batches: deque[tuple[GroupTable, NDArray[np.bool_], NDArray[np.bool_], bool, int]] = deque(maxlen=_WINDOW_BATCHES)
        self._steps = 0
        self._first: list[NDArray[np.bool_]] = []  # whether the groups of the first batches were mixed, until they make a window

    def score_as(self, names: Sequence[str], scoring: Scoring | None) -> None:
        """Take what the trainer adds up, before its first batch; None: the sum of all. What was scored otherwise is forgotten."""
        before = (self.names, self.scoring)
        self.names = tuple(names)
        self.scoring = scoring or Scoring(np.ones(len(self.names)))
        if before[0] != self.names or not before[1].equals(self.scoring):
            self.forget()

    @property
    def range(self) -> tuple[float, float]:
        """The reward's range: declared, or what was seen so far, out to what a reference answer earns."""
        if self.declared:
            return self.declared
        lo, hi = range_seen(*(self.seen if self.seen[0] <= self.seen[1] else (math.nan, math.nan)))
        return lo, max(hi, self.reachable)

    def absorb(self, batch: Batch, group_size: int | None) -> dict[str, float]:
        """Take in a batch and return its metrics by name; the names are the same for every batch."""
        total = weighted_total(batch.parts, self.scoring.weights)
        clip = self.scoring.clip
        effective = total if clip is None else np.clip(total, *clip)
        grouping = group_rows(batch.prompt, group_size)
        table = summarise(grouping, effective, batch.parts, batch.completion, batch.truncated)
        informative = table.informative
        if self.scoring.each_normalised:
            informative = np.asarray((table.part_std > 0)[self.scoring.weights != 0].any(0))
        clipped = np.zeros(len(informative), bool)
        if clip is not None:
            clipped = summarise(grouping, total, batch.parts, batch.completion).informative & ~informative
        if not batch.is_eval:
            self._train(batch.step, effective, grouping.size, table)
            self._batches.append((table, informative, clipped, grouping.whole, batch.errors))
            if sum(map(len, self._first)) < WINDOW_GROUPS:
                self._first.append(informative)
        return self._metrics(table, informative)

    def mixed(self) -> dict[str, tuple[float, int] | None]:
        """(share of mixed groups, groups) of the first window of the training and of the last one; None before the first batch."""
        last = self.window()
        if last is None or not self._first:
            return {"first": None, "last": None}
        first = np.concatenate(self._first)
        return {"first": (_mean(first), len(first)), "last": (_mean(last.informative), len(last.informative))}

    def window(self) -> Window | None:
        """The last batches together; None before the first."""
        taken: list[tuple[GroupTable, NDArray[np.bool_], NDArray[np.bool_], bool, int]] = []
        groups = 0
        for entry in reversed(self._batches):
            if groups >= WINDOW_GROUPS:
                break
            taken.append(entry)
            groups += len(entry[1])
        if not taken:
            return None
        tables, informative, clipped, whole, errors = zip(*taken, strict=True)
        return Window(
            joined(tables), np.concatenate(informative), *self.range, all(whole), sum(errors), np.concatenate(clipped),
            self.names, self.scoring.weights,
        )  # fmt: skip

    def _train(self, step: int | None, rewards: Floats, group_size: int, table: GroupTable) -> None:
        self._steps += 1
        scored = rewards[np.isfinite(rewards)]
        if len(scored):
            self.seen = (min(self.seen[0], float(scored.min())), max(self.seen[1], float(scored.max())))
        lo, hi = self.range
        slack = 1e-6 * (hi - lo)
        self.between |= bool(((np.abs(scored - lo) > slack) & (np.abs(scored - hi) > slack)).any())
        zones = _zones(group_size, lo, hi)
        at = step if step is not None else self._steps
        self.states.absorb(at, table.prompt, table.n, table.mean, table.std, two_valued=not self.between, zones=zones)

    def _metrics(self, table: GroupTable, informative: NDArray[np.bool_]) -> dict[str, float]:
        lo, hi = self.range
        slack = 1e-6 * (hi - lo)
        std = table.std[np.isfinite(table.std)]
        flat = table.std <= 0
        p10, p50, p90 = _quantiles(np.sort(std)).tolist()
        found = {
            "reward_std/mean": _mean(std),
            "reward_std/p10": p10,
            "reward_std/p50": p50,
            "reward_std/p90": p90,
            "informative": _mean(informative),
            "all_low": _mean(flat & (table.mean <= lo + slack)),
            "all_high": _mean(flat & (table.mean >= hi - slack)),
            "failed": 1 - float(table.n.sum()) / max(int(table.n_rows.sum()), 1),
            "distinct": _mean(table.distinct),
            "truncated": _mean(table.truncated),
        }
        found |= dict(zip(STATES, self.states.shares().tolist(), strict=True))
        if len(self.names) > 1:
            for name, part in zip(self.names, table.part_std, strict=True):
                found[f"{name}/reward_std"] = _mean(part[np.isfinite(part)])
                found[f"{name}/informative"] = _mean(part > 0)
        return {f"flatspot/{name}": value for name, value in found.items()}


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.add.reduce(values)) / len(values) if len(values) else math.nan


def _quantiles(ascending: Floats) -> Floats:
    """The 10th, 50th and 90th percentiles, interpolated; numpy's own function takes longer than all else here."""
    if len(ascending) == 0:
        return np.full(3, math.nan)
    return np.asarray(np.interp(np.array([0.1, 0.5, 0.9]) * (len(ascending) - 1), np.arange(len(ascending)), ascending))


@lru_cache(maxsize=8)
def _zones(group_size: int, lo: float, hi: float) -> Zones:
    return Zones(epsilon_for_group(max(group_size, 2) if group_size else 8), lo, hi)
