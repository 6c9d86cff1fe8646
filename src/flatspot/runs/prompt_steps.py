"""The prompts of a training by step: when each was drawn, what its groups earned last, and its rewards by window of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.tables import parquet_source
from flatspot.runs.run import Run
from flatspot.runs.table import connect, rollout_files
from flatspot.stats.changes import STRETCHES, discoveries, stopped_p
from flatspot.stats.evidence import EQUAL_REWARDS, Floats, Ints

if TYPE_CHECKING:
    import duckdb

N_WINDOWS = (6, 3, 2)  # windows of a training: the first third of them is its start, the last third its end
_MOST_GRADED = 3  # of rewards with more than two values, whose fits take seconds
_FEWEST = 4  # completions of the middle prompt in a window
COLUMNS = 24  # of a grid, at most
_FILLED = 0.7  # of a grid's cells, at least, where that leaves four windows: prompts are drawn at some steps only

_ROWS = "step IS NOT NULL AND isfinite(reward) AND split IS DISTINCT FROM 'eval'"


@dataclass(frozen=True)
class PromptSteps:
    """The M prompts of a training over its T steps, evaluations left out.

    steps      [T] ascending
    windows    [W] (first, last) step of each window, of equally many steps
    visits     [M] at how many steps it was drawn
    drawn      [M, B] in which of B stretches of the training
    last       [M] place of the last of them in `steps`; −1: at none
    last_mean, last_std  [M] of its rewards there; std NaN for one reward
    prompt, window, reward, count  [R] how many completions earned what
    """

    steps: Ints
    windows: tuple[tuple[int, int], ...]
    visits: Ints
    drawn: NDArray[np.bool_]
    last: Ints
    last_mean: Floats
    last_std: Floats
    prompt: Ints
    window: Ints
    reward: Floats
    count: Ints


@dataclass(frozen=True)
class PromptGrid:
    """Prompts by window of steps: one entry per cell that has a group with two rewards or more.

    windows  [C] (first, last) step of each
    prompt, window  [R]
    mean, std  [R] of the rewards: the mean, and the mean std within a group
    flat     [R] share of its groups whose rewards are equal
    stopped  of the prompts of the run, those that are no longer drawn
    """

    windows: tuple[tuple[int, int], ...]
    prompt: Ints
    window: Ints
    mean: Floats
    std: Floats
    flat: Floats
    stopped: NDArray[np.bool_]


def prompt_steps(run: Run) -> PromptSteps | None:
    """The prompts of a run by step; None where its rows say of fewer than two steps."""
    import duckdb

    files = rollout_files(run.folder)
    if not files:
        return None
    try:
        with connect(run.folder) as db:
            steps = _open(db, run, parquet_source(db, files))
            if len(steps) < 2:
                return None
            m = len(run.ids)
            windows = _windows(steps, _n_windows(db, len(steps)))
            of_prompt = db.execute(
                """SELECT i, count(*) AS visits, max(place) AS last, arg_max(mean, place) AS mean,
                   arg_max(coalesce(std, 'nan'), place) AS std FROM groups GROUP BY i"""
            ).fetchnumpy()
            drawn = _drawn(db, m, len(steps))
            tally = db.execute(
                f"SELECT i, {_window_sql(steps, windows)} AS w, reward, count(*) AS n FROM rows GROUP BY ALL ORDER BY ALL"
            ).fetchnumpy()
    except duckdb.Error as error:
        raise RunFolderError(f"{run.folder}: its rows cannot be read ({str(error).splitlines()[0]}).") from error
    at = of_prompt["i"].astype(np.int64)
    visits, last = np.zeros(m, np.int64), np.full(m, -1, np.int64)
    mean, std = np.full(m, np.nan), np.full(m, np.nan)
    visits[at], last[at] = of_prompt["visits"], of_prompt["last"]
    mean[at], std[at] = of_prompt["mean"], of_prompt["std"]
    columns = (tally["i"].astype(np.int64), tally["w"].astype(np.int64), tally["reward"].astype(float), tally["n"].astype(np.int64))
    return PromptSteps(steps, windows, visits, drawn, last, mean, std, *columns)


def prompt_grid(run: Run) -> PromptGrid | None:
    """What the groups of each prompt earned by window of steps; None where the rows say of fewer than two steps.

    There are as many windows as leave most cells filled, 4 to 24.
    """
    import duckdb

    files = rollout_files(run.folder)
    if not files:
        return None
    try:
        with connect(run.folder) as db:
            steps = _open(db, run, parquet_source(db, files))
            if len(steps) < 2:
                return None
            drawn = _drawn(db, len(run.ids), len(steps))
            for n in sorted({min(n, len(steps)) for n in (COLUMNS, 16, 12, 8, 6, 4)}, reverse=True):
                windows = _windows(steps, n)
                cells = db.execute(
                    f"""SELECT i, {_window_sql(steps, windows)} AS w, avg(mean) AS mean, avg(std) AS std, avg(CAST(flat AS INT)) AS flat
                        FROM groups WHERE n > 1 GROUP BY ALL ORDER BY ALL"""
                ).fetchnumpy()
                m = len(np.unique(cells["i"]))
                if len(cells["i"]) >= _FILLED * m * len(windows):
                    break
    except duckdb.Error as error:
        raise RunFolderError(f"{run.folder}: its rows cannot be read ({str(error).splitlines()[0]}).") from error
    if not m:
        return None
    mean, std, flat = (np.ma.filled(cells[name].astype(float), np.nan) for name in ("mean", "std", "flat"))
    stopped = discoveries(stopped_p(drawn))
    return PromptGrid(windows, cells["i"].astype(np.int64), cells["w"].astype(np.int64), mean, std, flat, stopped)


def _open(db: duckdb.DuckDBPyConnection, run: Run, source: str) -> Ints:
    """Make the views `rows` and `groups` of a training, prompts and steps by number; returns its steps."""
    import pyarrow as pa

    db.register("prompts", pa.table({"prompt_id": pa.array(run.ids, pa.string()), "i": pa.array(range(len(run.ids)), pa.int64())}))
    steps = np.array([row[0] for row in db.execute(f"SELECT DISTINCT step FROM {source} WHERE {_ROWS} ORDER BY 1").fetchall()], np.int64)
    db.register("steps", pa.table({"step": pa.array(steps, pa.int64()), "place": pa.array(range(len(steps)), pa.int64())}))
    db.execute(
        f"""CREATE VIEW rows AS SELECT i, place, reward FROM (SELECT prompt_id, step, reward FROM {source} WHERE {_ROWS})
            JOIN prompts USING (prompt_id) JOIN steps USING (step)"""
    )
    db.execute(
        f"""CREATE TEMP TABLE groups AS SELECT i, place, count(*) AS n, avg(reward) AS mean, {EQUAL_REWARDS} AS flat,
            CASE WHEN count(*) < 2 THEN NULL WHEN {EQUAL_REWARDS} THEN 0 ELSE stddev_samp(reward) END AS std FROM rows GROUP BY i, place"""
    )
    return steps


def _drawn(db: duckdb.DuckDBPyConnection, m: int, n_steps: int) -> NDArray[np.bool_]:
    """[M, B] in which stretches of a training each prompt was drawn."""
    n = min(STRETCHES, n_steps)
    seen = db.execute(f"SELECT DISTINCT i, place * {n} // {n_steps} AS stretch FROM groups").fetchnumpy()
    drawn = np.zeros((m, n), bool)
    drawn[seen["i"].astype(np.int64), seen["stretch"].astype(np.int64)] = True
    return drawn


def _n_windows(db: duckdb.DuckDBPyConnection, n_steps: int) -> int:
    """How many windows leave the middle prompt some completions in each."""
    middle, values = db.execute(
        "SELECT (SELECT median(n) FROM (SELECT sum(n) AS n FROM groups GROUP BY i)), (SELECT count(DISTINCT reward) FROM rows)"
    ).fetchone() or (0, 0)
    most = min(n_steps, int(middle) // _FEWEST, _MOST_GRADED if values > 2 else N_WINDOWS[0])
    return next((n for n in N_WINDOWS if n <= most), 2)


def _windows(steps: Ints, n: int) -> tuple[tuple[int, int], ...]:
    """(first, last) step of each of n windows of equally many steps."""
    return tuple((int(part[0]), int(part[-1])) for part in np.array_split(steps, min(n, len(steps))))


def _window_sql(steps: Ints, windows: tuple[tuple[int, int], ...]) -> str:
    """SQL: the number of the window of a row, by its `place` among the steps."""
    starts = [int(np.searchsorted(steps, first)) for first, _ in windows]
    cases = " ".join(f"WHEN place < {start} THEN {i}" for i, start in enumerate(starts[1:]))
    return f"CAST(CASE {cases} ELSE {len(windows) - 1} END AS BIGINT)" if cases else "CAST(0 AS BIGINT)"
