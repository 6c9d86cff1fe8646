"""Why a run in progress gets no gradient: causes, told apart by what the last groups and the trainer's own log show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from flatspot.stats.evidence import Floats
from flatspot.stats.groups import GroupTable

CAUSES = (
    "nan-loss", "zero-learning-rate", "everything-clipped", "masked-truncation", "broken-groups", "reward-failures",
    "unparsed-reward", "zero-weights", "reward-cut", "truncation", "all-high", "duplicated-completions", "constant-reward", "all-low",
    "all-low-or-high", "shaping-only", "noisy-reward", "blocked-gradient",
)  # fmt: skip

# no gradient: an informative share of a tenth or more would show so few informative groups less than once in 200 windows
_INFORMATIVE = 0.1
_LEVEL = 0.005
_MOST = 0.8  # a cause is named when it holds for this share of the flat groups
_FAILED = 0.1  # of the rows, without a reward
_UNSCORED = 0.5  # of the rows without a reward, where nothing else is worth saying
_CUT = 0.5  # of the rows without advantages, by the token limit
_CLIPPED = 0.5  # of the tokens, beyond the ratio's limits: their gradient is 0
_LOGS = 3  # log entries in a row that a trainer's number must hold for
REPEATED = 24  # rows with a completion seen before in their group that a claim about them takes
_FEWEST_ROWS = 32


@dataclass(frozen=True)
class RecentGroups:
    """The last groups of a run in progress.

    table        per-group statistics of the reward as the trainer uses it
    informative  [G] whether a group has advantages other than 0
    cut          [G] whether its rewards differed before the trainer cut them to its limits
    lo, hi       the reward's range
    names, weights   of the components
    whole        every batch came in groups of the size the trainer says
    errors       rows that failed for a stated reason
    """

    table: GroupTable
    informative: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    lo: float
    hi: float
    names: Sequence[str]
    weights: Floats
    whole: bool = True
    errors: int = 0


@dataclass(frozen=True)
class Trainer:
    """What the trainer's own log and settings show; the newest entry comes last.

    learning_rate, loss, grad_norm, clipped   of the last log entries; clipped is the share of tokens beyond the ratio's limits
    masks_truncated   cut completions do not count in the loss
    ending       the run is at its end, where schedules reach 0 on purpose
    """

    learning_rate: Sequence[float] = ()
    loss: Sequence[float] = ()
    grad_norm: Sequence[float] = ()
    clipped: Sequence[float] = ()
    masks_truncated: bool = False
    ending: bool = False


@dataclass(frozen=True)
class Alarm:
    """A cause of a missing gradient, the share of groups, rows or tokens it shows on, and what else its sentence needs."""

    cause: str
    share: float
    about: str = ""


def find_alarms(groups: RecentGroups | None, trainer: Trainer) -> list[Alarm]:
    """Every cause that shows, the ones that make others meaningless first; empty where the run is well.

    At most one cause is named for groups without advantages: the first of `CAUSES` that explains most of them.
    """
    alarms = _of_trainer(trainer)
    if groups is None or len(groups.informative) == 0:
        return alarms
    if not groups.whole:
        alarms.append(Alarm("broken-groups", 1.0))
    flat = _flat_cause(groups) if no_gradient(groups.informative) else None
    if flat is not None:
        alarms.append(flat)
    if flat is None or flat.cause not in ("reward-failures", "unparsed-reward"):
        alarms += _failures(groups)
    alarms += _beside(groups, trainer, flat)
    if not alarms and _blocked(float(groups.informative.mean()), trainer):
        alarms.append(Alarm("blocked-gradient", 1.0))
    return alarms


def _blocked(informative: float, trainer: Trainer) -> bool:
    """Whether the gradient norms logged last are 0 though groups have advantages.

    A logged norm is that of one update, which may hold a single flat group: the zeros in a row must be too many to be chance even then.
    """
    moving = np.flatnonzero(np.array(trainer.grad_norm) != 0)
    zeros = len(trainer.grad_norm) - (int(moving[-1]) + 1 if len(moving) else 0)
    return informative > 2 * _INFORMATIVE and zeros >= _LOGS and (1 - informative) ** zeros < _LEVEL


def no_gradient(informative: NDArray[np.bool_]) -> bool:
    """Whether so few groups are informative that their share is under a tenth.

    >>> no_gradient(np.zeros(40, bool)), no_gradient(np.zeros(60, bool)), no_gradient(np.arange(60) % 4 == 0)
    (False, True, False)
    """
    return bool(bdtr(int(informative.sum()), len(informative), _INFORMATIVE) < _LEVEL)


def _of_trainer(trainer: Trainer) -> list[Alarm]:
    alarms = []
    newest = [values[-1] for values in (trainer.loss, trainer.grad_norm) if len(values)]
    if not np.isfinite(newest).all():
        alarms.append(Alarm("nan-loss", 1.0))
    rates = np.array(trainer.learning_rate[-_LOGS:])
    if len(rates) == _LOGS and not trainer.ending and bool((rates == 0).all()):
        alarms.append(Alarm("zero-learning-rate", 1.0))
    shares = np.array(trainer.clipped[-2 * _LOGS :])
    if len(shares) >= _LOGS and np.isfinite(shares).all() and shares.mean() > _CLIPPED:
        alarms.append(Alarm("everything-clipped", float(shares.mean())))
    return alarms


def _flat_cause(groups: RecentGroups) -> Alarm | None:
    """Why the groups without advantages have none."""
    table, idle = groups.table, ~groups.informative
    n_idle, rows = int(idle.sum()), int(table.n_rows.sum())
    slack = 1e-6 * (groups.hi - groups.lo)
    unscored = 1 - table.n.sum() / max(rows, 1)
    if unscored >= _UNSCORED:
        return _unscored(groups, float(unscored))
    moving = float(np.max(table.part_std > 0, axis=0)[idle].mean())
    if moving >= _MOST and not groups.weights.all():
        return Alarm("zero-weights", moving)
    if groups.cut[idle].mean() >= _MOST:
        return Alarm("reward-cut", float(groups.cut[idle].mean()))
    low, high = table.mean <= groups.lo + slack, table.mean >= groups.hi - slack
    if high[idle].mean() >= _MOST:
        return Alarm("all-high", float(high[idle].mean()))
    copies = (table.distinct <= 1 / table.n_rows) & (table.n_rows > 1)
    if copies[idle].mean() >= _MOST:
        return Alarm("duplicated-completions", float(copies[idle].mean()))
    if not low[idle].any() and np.ptp(table.mean[idle & (table.n > 0)]) <= slack:
        return Alarm("constant-reward", 1.0, f"{np.nanmean(table.mean[idle]):.3g}")
    if np.nan_to_num(table.truncated[idle]).mean() >= _CUT:
        return Alarm("truncation", float(table.truncated[idle].mean()))
    if low[idle].mean() >= _MOST:
        return Alarm("all-low", float(low[idle].mean()))
    return Alarm("all-low-or-high", n_idle / len(idle))


def _failures(groups: RecentGroups) -> list[Alarm]:
    rows = int(groups.table.n_rows.sum())
    share = float(max(1 - groups.table.n.sum() / max(rows, 1), groups.errors / max(rows, 1)))
    return [_unscored(groups, share)] if rows >= _FEWEST_ROWS and share > _FAILED else []


def _unscored(groups: RecentGroups, share: float) -> Alarm:
    """Rows without a reward: the function failed on them, or returned None."""
    return Alarm("reward-failures" if groups.errors >= share * groups.table.n_rows.sum() / 2 else "unparsed-reward", share)


def _beside(groups: RecentGroups, trainer: Trainer, flat: Alarm | None) -> list[Alarm]:
    """Causes that leave advantages, but none that teach what was meant."""
    table, alarms = groups.table, []
    if trainer.masks_truncated and (flat is None or flat.cause != "truncation") and np.nan_to_num(table.truncated).mean() >= _MOST:
        alarms.append(Alarm("masked-truncation", float(table.truncated.mean())))
    moves = (table.part_std > 0) & (groups.weights != 0)[:, None]
    for i, name in enumerate(groups.names):
        others = np.delete(moves, i, 0)
        if flat is None and groups.weights[i] != 0 and no_gradient(moves[i]) and not no_gradient(others.any(0)):
            values = np.r_[table.part_low[i], table.part_high[i]]
            main = groups.weights[i] >= np.abs(np.delete(groups.weights, i)).max()
            if main and np.nanmax(values, initial=-np.inf) <= _middle(values):
                alarms.append(Alarm("shaping-only", float(others.any(0).mean()), name))
    repeats, unequal = int(table.repeats.sum()), int(table.unequal.sum())
    if repeats >= REPEATED and unequal > 0.5 * repeats:
        alarms.append(Alarm("noisy-reward", unequal / repeats))
    return alarms


def _middle(values: Floats) -> float:
    """Where the upper half of a component's range begins: of [0, 1], or of what was seen of it where that is wider."""
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    return float((min(low, 0.0) + max(high, 1.0)) / 2)
