"""A training over its steps: the states of its prompts by window, which of them changed, and which are no longer drawn."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.schema import STEPS, arrow_schema
from flatspot.runs.prompt_steps import PromptSteps
from flatspot.runs.steps_summary import StateChange, StepsSummary, StepWindow, Stopped, WindowShare
from flatspot.stats.changes import change_p, discoveries, stopped_p
from flatspot.stats.decide import give_verdicts
from flatspot.stats.evidence import Floats, Ints, evidence_of_counts
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import STATES
from flatspot.verdicts.settings import JudgeSettings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OverSteps:
    """What is said of a training's steps: the summary, and a row per prompt (`core.schema.STEPS`)."""

    summary: StepsSummary
    table: pa.Table


@dataclass(frozen=True)
class _Moves:
    """Of each prompt [M]: index into STATES of the likelier state at start and end (−1: not drawn), p-value, whether it changed."""

    before: Ints
    after: Ints
    p: Floats
    changed: NDArray[np.bool_]


def judge_steps(
    rows: PromptSteps, prompt_ids: Sequence[str], r_star: Floats, settings: JudgeSettings, scale: float, *, survivors: bool = False
) -> OverSteps:
    """Judge the windows of a training, and say which prompts changed from its start to its end.

    r_star     [M] the achievable reward of each prompt, as in the judging of all rows
    scale      what gains were measured against there
    survivors  whether the log holds only groups that were picked by their rewards: then no window is judged, and no change said
    """
    m, n_windows = len(prompt_ids), len(rows.windows)
    stopped = discoveries(stopped_p(rows.drawn))

    @functools.cache
    def judged(start: int, end: int) -> tuple[Ints, Floats]:
        return _judge(rows, (start, end), r_star, settings, scale)

    windows = []
    for i, (start, end) in enumerate(rows.windows):
        n = np.bincount(rows.prompt[rows.window == i], rows.count[rows.window == i], m)
        shares = [WindowShare()] * 3 if survivors else [WindowShare(*map(_finite, row)) for row in judged(i, i + 1)[1]]
        windows.append(StepWindow(start, end, int((n > 0).sum()), int(n.sum()), *shares))
    third, none = max(1, n_windows // 3), np.full(m, -1)
    moved = _Moves(none, none, np.full(m, np.nan), np.zeros(m, bool))
    if not survivors:
        p, least = _tested(rows, m, third)
        moved = _Moves(judged(0, third)[0], judged(n_windows - third, n_windows)[0], p, discoveries(p, least))
    named = Counter(zip(moved.before[moved.changed].tolist(), moved.after[moved.changed].tolist(), strict=True))
    summary = StepsSummary(
        n_steps=len(rows.steps),
        windows=tuple(windows),
        start=(rows.windows[0][0], rows.windows[third - 1][1]),
        end=(rows.windows[-third][0], rows.windows[-1][1]),
        n_compared=None if survivors else int(np.isfinite(moved.p).sum()),
        n_changed=None if survivors else int(moved.changed.sum()),
        changes=tuple(StateChange(STATES[a], STATES[b], n) for (a, b), n in named.most_common() if a != b),
        stopped=_stopped(rows, stopped, settings),
    )
    return OverSteps(summary, _table(rows, prompt_ids, moved, stopped))


def _tested(rows: PromptSteps, m: int, third: int) -> tuple[Floats, Floats]:
    """`change_p` of the first third of the windows against the last."""
    inside = (rows.window < third) | (rows.window >= len(rows.windows) - third)
    return change_p(rows.prompt[inside], rows.window[inside] >= third, rows.reward[inside], rows.count[inside], m)


def _judge(rows: PromptSteps, span: tuple[int, int], r_star: Floats, settings: JudgeSettings, scale: float) -> tuple[Ints, Floats]:
    """([M] index into STATES of the likelier state, −1 where not drawn; [3, 3] shares) of the rows of some windows."""
    inside = (rows.window >= span[0]) & (rows.window < span[1])
    evidence = evidence_of_counts(rows.prompt[inside], rows.reward[inside], rows.count[inside], len(r_star))
    zones = settings.zones if settings.stated else replace(settings.zones, typical=scale)  # of the set, not of each window
    model = fit(evidence, r_star, zones)
    decisions = give_verdicts(model, settings.target_error, worst_case=False)
    return np.where(decisions.scored, decisions.best, -1), model.shares


def _stopped(rows: PromptSteps, stopped: NDArray[np.bool_], settings: JudgeSettings) -> Stopped:
    n, at = int(stopped.sum()), rows.steps[rows.last[stopped]]
    std, mean = rows.last_std[stopped], rows.last_mean[stopped]
    high = mean >= (settings.reward_lo + settings.reward_hi) / 2
    return Stopped(
        count=n,
        n_drawn=int((rows.visits > 0).sum()),
        first_step=int(at.min()) if n else None,
        median_step=int(np.sort(at)[(n - 1) // 2]) if n else None,
        mean_std=float(std[np.isfinite(std)].mean()) if np.isfinite(std).any() else None,
        equal_low=int(((std == 0) & ~high).sum()),
        equal_high=int(((std == 0) & high).sum()),
    )


def _table(
    rows: PromptSteps,
    prompt_ids: Sequence[str],
    moved: _Moves,
    stopped: NDArray[np.bool_],
) -> pa.Table:
    import pyarrow as pa

    names = np.array([*STATES, None], dtype=object)  # −1 is the last
    drawn = rows.last >= 0
    columns = {
        "prompt_id": list(prompt_ids),
        "n_steps": rows.visits,
        "last_step": pa.array(rows.steps[np.maximum(rows.last, 0)], mask=~drawn),
        "last_mean": pa.array(rows.last_mean, from_pandas=True),
        "last_std": pa.array(rows.last_std, from_pandas=True),
        "stopped": stopped,
        "first_state": names[moved.before],
        "last_state": names[moved.after],
        "p_value": pa.array(moved.p, from_pandas=True),
        "changed": moved.changed,
    }
    return pa.table(columns, schema=arrow_schema(STEPS))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
