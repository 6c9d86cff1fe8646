"""Statistics of a run in progress: of each generation batch, of the last batches together, and of each prompt so far."""

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
from flatspot.stats.groups import GroupTable, group_rows, joined, summarize, weighted_total
from flatspot.stats.zones import STATES, Zones, epsilon_for_group, range_seen
from flatspot.verdicts.alarms import RecentGroups

WINDOW_GROUPS = 256  # groups that alarms are judged on, at most
_WINDOW_BATCHES = 64


@dataclass(frozen=True)
class Batch:
    """The scored rows of one generation batch, of all processes, in the trainer's order.

    step        the policy update they were sampled for; None if the trainer does not pass it
    prompt      [rows] number of each row's prompt, from 0 in the order of first appearance
    parts       [C, rows] rewards of each component, NaN = not scored
    completion  [rows] a code of the completion's text
    truncated   [rows] 1 or 0, NaN if unknown
    errors      number of rows with an error: an exception, or a value that is not a number
    is_eval     sampled for an evaluation: logged, but not part of the training
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
    """How the trainer combines several rewards into one.

    weights          [C]
    clip             limits to which the sum is clipped (RLOO's reward_clip_range); None: no limits
    each_normalized  each component is divided by its group std before the sum
    normalized       advantages are divided by their group's std, which blows a small spread up again
    """

    weights: Floats
    clip: tuple[float, float] | None = None
    each_normalized: bool = False
    normalized: bool = False

    def equals(self, other: Scoring) -> bool:
        """Whether both give the same total for the same rewards."""
        same = (self.clip, self.each_normalized, self.normalized) == (other.clip, other.each_normalized, other.normalized)
        return same and np.array_equal(self.weights, other.weights)


class Live:
    """The statistics of a run in progress, updated with each batch; independent of files and trainers."""

    def __init__(self, names: Sequence[str], declared: tuple[float, float] | None = None) -> None:
        self.names, self.declared = tuple(names), declared
        self.scoring = Scoring(np.ones(len(self.names)))
        self.forget()

    def forget(self) -> None:
        """Start over: the earlier batches are sampled again, or were scored differently from those to come."""
        self.states = DiscountedStates()
        self.observed: tuple[float, float] = (math.inf, -math.inf)  # smallest and largest reward
        self.between = False  # whether there was a reward strictly inside the range
        self._batches: deque[tuple[GroupTable, NDArray[np.bool_], NDArray[np.bool_], bool, int]] = deque(maxlen=_WINDOW_BATCHES)
        self._steps = 0
        self._first: list[NDArray[np.bool_]] = []  # whether the groups of the first batches were mixed, until they fill a window

    def score_as(self, names: Sequence[str], scoring: Scoring | None) -> None:
        """Set the components that the trainer sums; None: all of them. Drops earlier batches if they were scored differently."""
        before = (self.names, self.scoring)
        self.names = tuple(names)
        self.scoring = scoring or Scoring(np.ones(len(self.names)))
        if before[0] != self.names or not before[1].equals(self.scoring):
            self.forget()

    @property
    def range(self) -> tuple[float, float]:
        """The reward's range: declared, or observed so far."""
        if self.declared:
            return self.declared
        return range_seen(*(self.observed if self.observed[0] <= self.observed[1] else (math.nan, math.nan)))

    def absorb(self, batch: Batch, group_size: int | None) -> dict[str, float]:
        """Add a batch and return its metrics by name; the names are the same for every batch."""
        total = weighted_total(batch.parts, self.scoring.weights)
        clip = self.scoring.clip
        effective = total if clip is None else np.clip(total, *clip)
        grouping = group_rows(batch.prompt, group_size)
        table = summarize(grouping, effective, batch.parts, batch.completion, batch.truncated)
        informative = table.informative
        if self.scoring.each_normalized:
            informative = np.asarray((table.part_std > 0)[self.scoring.weights != 0].any(0))
        clipped = np.zeros(len(informative), bool)
        if clip is not None:
            clipped = summarize(grouping, total, batch.parts, batch.completion).informative & ~informative
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

    def window(self) -> RecentGroups | None:
        """The last batches together; None before the first."""
        entries: list[tuple[GroupTable, NDArray[np.bool_], NDArray[np.bool_], bool, int]] = []
        groups = 0
        for entry in reversed(self._batches):
            if groups >= WINDOW_GROUPS:
                break
            entries.append(entry)
            groups += len(entry[1])
        if not entries:
            return None
        tables, informative, clipped, whole, errors = zip(*entries, strict=True)
        lo, hi = self.range
        return RecentGroups(
            table=joined(tables),
            informative=np.concatenate(informative),
            cut=np.concatenate(clipped),
            lo=lo,
            hi=hi,
            names=self.names,
            weights=self.scoring.weights,
            whole=all(whole),
            errors=sum(errors),
        )

    def _train(self, step: int | None, rewards: Floats, group_size: int, table: GroupTable) -> None:
        self._steps += 1
        scored = rewards[np.isfinite(rewards)]
        if len(scored):
            self.observed = (min(self.observed[0], float(scored.min())), max(self.observed[1], float(scored.max())))
        lo, hi = self.range
        slack = 1e-6 * (hi - lo)
        self.between |= bool(((np.abs(scored - lo) > slack) & (np.abs(scored - hi) > slack)).any())
        zones = _zones(group_size, lo, hi, self.declared is not None or (lo, hi) == (0.0, 1.0), self.scoring.normalized)
        at = step if step is not None else self._steps
        self.states.absorb(at, table.prompt, table.n, table.mean, table.std, binary=not self.between, zones=zones)

    def _metrics(self, table: GroupTable, informative: NDArray[np.bool_]) -> dict[str, float]:
        lo, hi = self.range
        slack = 1e-6 * (hi - lo)
        std = table.std[np.isfinite(table.std)]
        flat = table.std <= 0
        p10, p50, p90 = _quantiles(np.sort(std)).tolist()
        metrics = {
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
        metrics |= dict(zip(STATES, self.states.shares().tolist(), strict=True))
        if len(self.names) > 1:
            for name, part in zip(self.names, table.part_std, strict=True):
                metrics[f"{name}/reward_std"] = _mean(part[np.isfinite(part)])
                metrics[f"{name}/informative"] = _mean(part > 0)
        return {f"flatspot/{name}": value for name, value in metrics.items()}


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.add.reduce(values)) / len(values) if len(values) else math.nan


def _quantiles(ascending: Floats) -> Floats:
    """The 10th, 50th and 90th percentiles, interpolated; numpy's own function would take longer than all other metrics."""
    if len(ascending) == 0:
        return np.full(3, math.nan)
    return np.asarray(np.interp(np.array([0.1, 0.5, 0.9]) * (len(ascending) - 1), np.arange(len(ascending)), ascending))


@lru_cache(maxsize=8)
def _zones(group_size: int, lo: float, hi: float, stated: bool, normalized: bool) -> Zones:
    size = max(group_size, 2) if group_size else 8
    return Zones(epsilon_for_group(size), lo, hi, size, "normalized" if normalized else "centered", stated)
