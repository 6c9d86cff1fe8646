"""The labeled layer: read what a run folder's rows say of each prompt, with DuckDB, without loading the rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import RunFolderError
from flatspot.core.leftovers import scratch_name, temporary_beside
from flatspot.core.sql import literal
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.tables import check_sound, is_utf8, parquet_source
from flatspot.stats.evidence import RELATIVE_TOLERANCE, Evidence, Floats, Ints, evidence_of_counts
from flatspot.stats.signs import Signs

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY_LIMIT = "1200MB"


@dataclass(frozen=True)
class RunTable:
    """Per-prompt statistics of a run folder, in the order of its prompts.parquet.

    prompt_id         [M]
    reference_reward  [M] NaN where there is no reference
    evidence          the scored rewards, reduced
    n_rows            [M] completions drawn
    distinct_share    [M] distinct completions among them; NaN where the log has no completions
    truncated_share   [M] NaN where the log does not say
    mean_tokens       [M] NaN where the log does not say
    components        {name: (mean [M], std [M])} for sets with more than one reward function
    errors            [(message, rows)], most frequent first, at most 20
    signs             equal completions with different rewards, and what cut ones earn
    """

    prompt_id: NDArray[np.object_]
    reference_reward: Floats
    evidence: Evidence
    n_rows: Ints
    distinct_share: Floats
    truncated_share: Floats
    mean_tokens: Floats
    components: dict[str, tuple[Floats, Floats]]
    errors: list[tuple[str, int]]
    signs: Signs


def connect(scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that stays within `MEMORY_LIMIT`, spilling into `scratch`."""
    import duckdb

    # left to itself DuckDB downloads an extension where a query seems to need one
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "autoinstall_known_extensions": False})
    connection.execute("SET enable_progress_bar = false")
    usable = scratch is not None and os.access(scratch, os.W_OK) and is_utf8(scratch)
    spill = temporary_beside(scratch.absolute() / "spill") if scratch is not None and usable else scratch_name()
    connection.execute(f"SET temp_directory = {literal(spill)}")  # left to itself, DuckDB would spill into the working directory
    return connection


def rollout_files(folder: Path) -> list[Path]:
    """The files of a run folder's rows, in order; raises `RunFolderError` for one that is damaged, naming it."""
    files = [part.file for part in part_files(folder)]
    check_sound(files)
    return files


def read_run(folder: Path) -> RunTable:
    """Reduce a run folder's rows. Prompts without a row yet are there, with zeros.

    Raises `RunFolderError` where a part cannot be read, naming it.
    """
    import duckdb

    folder = Path(folder)
    files, prompts = rollout_files(folder), folder / "prompts.parquet"
    check_sound([prompts])
    try:
        with connect(folder) as db:
            db.execute(
                "CREATE TABLE prompts AS SELECT row_number() OVER () - 1 AS i, prompt_id, reference_reward "
                f"FROM {parquet_source(db, [prompts])}"
            )
            none = "(SELECT * FROM (VALUES (1)) WHERE false)"
            db.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet_source(db, files) if files else none}")
            return _reduce(db, bool(files))
    except duckdb.Error as error:
        raise RunFolderError(
            f"{folder}: a table of the run folder cannot be read ({str(error).splitlines()[0]}). Delete that file, if it is there, and run "
            "the same flatspot diagnose or inspect again."
        ) from error


def _reduce(db: duckdb.DuckDBPyConnection, any_rows: bool) -> RunTable:
    prompts = db.execute("SELECT prompt_id, reference_reward FROM prompts ORDER BY i").fetchnumpy()
    m = len(prompts["prompt_id"])
    reference = _floats(prompts["reference_reward"])
    ids = np.asarray(prompts["prompt_id"], dtype=object)
    nan = np.full(m, np.nan)
    if not any_rows:
        empty = evidence_of_counts(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), m)
        return RunTable(ids, reference, empty, np.zeros(m, np.int64), nan, nan, nan, {}, [], Signs.none(m))
    totals = db.execute(
        """SELECT i, count(*) AS n_rows, avg(truncated::INT) AS truncated, avg(n_tokens) AS tokens, count(completion) AS n_completions
           FROM rows JOIN prompts USING (prompt_id) GROUP BY i"""
    ).fetchnumpy()
    at = totals["i"].astype(np.int64)
    rewards = db.execute(
        "SELECT i, reward, count(*) AS n FROM rows JOIN prompts USING (prompt_id) WHERE isfinite(reward) GROUP BY i, reward"
    ).fetchnumpy()
    evidence = evidence_of_counts(rewards["i"].astype(np.int64), _floats(rewards["reward"]), rewards["n"].astype(np.int64), m)
    del rewards
    return RunTable(
        prompt_id=ids,
        reference_reward=reference,
        evidence=evidence,
        n_rows=_place(totals["n_rows"], at, m, 0).astype(np.int64),
        distinct_share=_distinct(db, m) / _place(totals["n_completions"], at, m, np.nan),
        truncated_share=_place(totals["truncated"], at, m, np.nan),
        mean_tokens=_place(totals["tokens"], at, m, np.nan),
        components=_components(db, m),
        errors=db.execute("SELECT error, count(*) FROM rows WHERE error IS NOT NULL GROUP BY error ORDER BY 2 DESC, 1 LIMIT 20").fetchall(),
        signs=_signs(db, m),
    )


def _distinct(db: duckdb.DuckDBPyConnection, m: int) -> Floats:
    counts = db.execute(
        """SELECT i, count(*) AS n FROM
           (SELECT DISTINCT i, hash(completion) FROM rows JOIN prompts USING (prompt_id) WHERE completion IS NOT NULL) GROUP BY i"""
    ).fetchnumpy()
    return _place(counts["n"], counts["i"].astype(np.int64), m, np.nan)


def _components(db: duckdb.DuckDBPyConnection, m: int) -> dict[str, tuple[Floats, Floats]]:
    several = db.execute("SELECT 1 FROM rows WHERE cardinality(rewards) > 1 LIMIT 1").fetchone()
    if several is None:
        return {}
    moments = db.execute(
        """SELECT i, entry.key AS name, avg(entry.value) AS mean, count(entry.value) AS n, stddev_samp(entry.value) AS std,
                  max(entry.value) - min(entry.value) <= 1e-6 * greatest(abs(max(entry.value)), abs(min(entry.value))) AS flat
           FROM (SELECT i, unnest(map_entries(rewards)) AS entry FROM rows JOIN prompts USING (prompt_id))
           WHERE isfinite(entry.value) GROUP BY i, entry.key"""
    ).fetchnumpy()
    names, at = np.asarray(moments["name"], dtype=object), moments["i"].astype(np.int64)
    std = np.where(moments["n"] < 2, np.nan, np.where(np.asarray(moments["flat"], bool), 0.0, _floats(moments["std"])))
    return {
        str(name): (_place(_floats(moments["mean"])[mine], at[mine], m, np.nan), _place(std[mine], at[mine], m, np.nan))
        for name in sorted(set(names))
        for mine in [names == name]
    }


def _signs(db: duckdb.DuckDBPyConnection, n_prompts: int) -> Signs:
    """Equal completions with different rewards, and what cut ones earn: from the views `rows` and `prompts`."""
    table = db.execute(
        f"""WITH texts AS (
                SELECT i, count(*) - 1 AS again, var_pop(reward) * count(*) AS squares,
                       max(reward) - min(reward) > {RELATIVE_TOLERANCE} * greatest(abs(max(reward)), abs(min(reward))) AS unequal
                FROM rows JOIN prompts USING (prompt_id)
                WHERE isfinite(reward) AND completion <> '' GROUP BY i, step, truncated, hash(completion) HAVING count(*) > 1)
            SELECT i, sum(again)::BIGINT AS repeats, coalesce(sum(again) FILTER (unequal), 0)::BIGINT AS unequal,
                   coalesce(sum(squares) FILTER (unequal), 0)::DOUBLE AS squares
            FROM texts GROUP BY i"""
    ).fetchnumpy()
    signs, at = Signs.none(n_prompts), table["i"].astype(np.int64)
    signs.repeats[at], signs.unequal[at], signs.squares[at] = (np.ma.getdata(table[name]) for name in ("repeats", "unequal", "squares"))
    cut = dict.fromkeys((True, False), (0, np.nan))
    for truncated, n, mean in db.execute(
        """SELECT truncated, count(*), avg(reward) FILTER (isfinite(reward)) FROM rows JOIN prompts USING (prompt_id)
           WHERE truncated IS NOT NULL GROUP BY truncated"""
    ).fetchall():
        cut[bool(truncated)] = (int(n), np.nan if mean is None else float(mean))
    return replace(signs, n_cut=cut[True][0], n_whole=cut[False][0], cut_mean=cut[True][1], whole_mean=cut[False][1])


def _floats(column: object) -> Floats:
    """A DuckDB column as float64, SQL null as NaN."""
    return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)


def _place(values: object, at: Ints, m: int, missing: float) -> Floats:
    full = np.full(m, missing, np.float64)
    full[at] = _floats(values)
    return full


def completions_of(folder: Path, prompt_ids: Sequence[str], *, per_prompt: int = 64) -> pa.Table:
    """The rows of some prompts, for showing: at most `per_prompt` each, in the order drawn."""
    import pyarrow as pa

    files = rollout_files(folder)
    with connect(folder) as db:
        wanted = pa.table({"prompt_id": pa.array(list(prompt_ids), pa.string())})
        db.register("wanted", wanted)
        columns = "prompt_id, sample_idx, completion, reward, rewards, error, truncated, n_tokens"
        if not files:
            return wanted.slice(0, 0)
        return db.sql(
            f"""SELECT {columns} FROM {parquet_source(db, files)} SEMI JOIN wanted USING (prompt_id)
                QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY sample_idx) <= {per_prompt}
                ORDER BY prompt_id, sample_idx"""
        ).to_arrow_table()
