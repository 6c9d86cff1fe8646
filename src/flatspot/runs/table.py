"""The labeled layer: read what a run folder's rows say of each prompt, with DuckDB, without loading the rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import RunFolderError
from flatspot.core.leftovers import scratch_name, temporary_beside
from flatspot.core.sql import literal
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.tables import check_sound, is_utf8, parquet_source, read_table
from flatspot.runs.clusters import Clusters
from flatspot.stats.evidence import EQUAL_REWARDS, Evidence, Floats, Ints, evidence_of_counts
from flatspot.stats.known_mass import KnownMass, known_mass
from flatspot.stats.signs import Signs

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")
MEMORY_LIMIT = "1200MB"


@dataclass(frozen=True)
class RunTable:
    """Per-prompt statistics of a run folder, in the order of its prompts.parquet.

    prompt_id         [M]
    answer_reward     [M] what real answers earn; NaN where nobody named any
    evidence          the scored rewards, reduced
    n_rows            [M] completions drawn
    distinct_share    [M] distinct completions among them; NaN where the log has no completions
    truncated_share   [M] NaN where the log does not say
    mean_tokens       [M] NaN where the log does not say
    components        the same of each reward function, before weights, by its name; empty where there is one
    fair              [M] whether no reward decided how many completions the prompt has, as far as the rows say
    errors            [(message, rows)], most frequent first, at most 20
    signs             equal completions with different rewards, and what cut ones earn
    clusters          the tasks of the prompts, where limits are to know of them; None: one, or nothing tells
    known             what the probabilities of the completions prove: `read_known`; None where it was not asked for
    n_not_drawn       [M] completions among n_rows that the engine could not draw, so that no reward saw them; None: none
    """

    prompt_id: NDArray[np.object_]
    answer_reward: Floats
    evidence: Evidence
    n_rows: Ints
    distinct_share: Floats
    truncated_share: Floats
    mean_tokens: Floats
    components: dict[str, Evidence]
    fair: NDArray[np.bool_]
    errors: list[tuple[str, int]]
    signs: Signs
    clusters: Clusters | None = None
    known: KnownMass | None = None
    n_not_drawn: Ints | None = None

    @property
    def clusters_used(self) -> Ints | None:
        """[M] the task of each prompt; None where limits are for further prompts of the same tasks."""
        return self.clusters.of if self.clusters is not None and self.clusters.used else None


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
    """Reduce a run folder's rows, all but `known`. Prompts without a row yet are there, with zeros.

    Raises `RunFolderError` where a part cannot be read, naming it.
    """
    return _read(folder, _reduce)


def read_known(folder: Path, logprob_error: float) -> KnownMass | None:
    """What the probabilities of a run folder's completions prove; None where the rows do not tell them. It hashes every completion.

    logprob_error  how far a token's log-probability may be off, in nats

    Raises `RunFolderError` where a part cannot be read, naming it.
    """

    def reduce(db: duckdb.DuckDBPyConnection, any_rows: bool) -> KnownMass | None:
        [m] = db.execute("SELECT count(*) FROM prompts").fetchone() or [0]
        return _known(db, int(m), logprob_error) if any_rows else None

    return _read(folder, reduce)


def _read(folder: Path, reduce: Callable[[duckdb.DuckDBPyConnection, bool], T]) -> T:
    """What `reduce` makes of the views `rows` and `prompts`, and of whether there are any rows."""
    import duckdb

    folder = Path(folder)
    files, prompts = rollout_files(folder), folder / "prompts.parquet"
    check_sound([prompts])
    try:
        with connect(folder) as db:
            source = parquet_source(db, [prompts])
            db.execute(f"CREATE TABLE prompts AS SELECT row_number() OVER () - 1 AS i, prompt_id, {_answers(db, source)} FROM {source}")
            none = "(SELECT * FROM (VALUES (1)) WHERE false)"
            db.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet_source(db, files) if files else none}")
            return reduce(db, bool(files))
    except duckdb.Error as error:
        for file, needed in [(prompts, ["prompt_id"]), *((part, ["prompt_id", "reward"]) for part in files)]:
            read_table(file, needed)  # names the file that lacks a column
        raise RunFolderError(
            f"{folder}: a table of the run folder cannot be read ({str(error).splitlines()[0]}). Delete that file, if it is there, and run "
            "the same flatspot diagnose or inspect again."
        ) from error


def _reduce(db: duckdb.DuckDBPyConnection, any_rows: bool) -> RunTable:
    prompts = db.execute("SELECT prompt_id, answer_reward FROM prompts ORDER BY i").fetchnumpy()
    m = len(prompts["prompt_id"])
    answers = _floats(prompts["answer_reward"])
    ids = np.asarray(prompts["prompt_id"], dtype=object)
    nan = np.full(m, np.nan)
    if not any_rows:
        empty = evidence_of_counts(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), m)
        return RunTable(ids, answers, empty, np.zeros(m, np.int64), nan, nan, nan, {}, np.ones(m, bool), [], Signs.none(m))
    totals = db.execute(
        """SELECT i, count(*) AS n_rows, avg(truncated::INT) AS truncated, avg(n_tokens) AS tokens, count(completion) AS n_completions,
                  bool_and(coalesce(fixed, true)) AS fair
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
        answer_reward=answers,
        evidence=evidence,
        n_rows=_place(totals["n_rows"], at, m, 0).astype(np.int64),
        distinct_share=_distinct(db, m) / _place(totals["n_completions"], at, m, np.nan),
        truncated_share=_place(totals["truncated"], at, m, np.nan),
        mean_tokens=_place(totals["tokens"], at, m, np.nan),
        components=_components(db, m),
        fair=_place(totals["fair"], at, m, 1).astype(bool),
        errors=db.execute("SELECT error, count(*) FROM rows WHERE error IS NOT NULL GROUP BY error ORDER BY 2 DESC, 1 LIMIT 20").fetchall(),
        signs=_signs(db, m),
        n_not_drawn=_not_drawn(db, m),
    )


def _not_drawn(db: duckdb.DuckDBPyConnection, m: int) -> Ints | None:
    """Rows with an error in place of a completion; not of a log (`source`), which may leave out what completions said."""
    if "source" not in _columns(db):
        return None
    found = db.execute(
        """SELECT i, count(*) AS n FROM rows JOIN prompts USING (prompt_id)
           WHERE error IS NOT NULL AND completion IS NULL AND reward IS NULL AND source IS NULL GROUP BY i"""
    ).fetchnumpy()
    return _place(found["n"], found["i"].astype(np.int64), m, 0).astype(np.int64) if len(found["i"]) else None


def _columns(db: duckdb.DuckDBPyConnection) -> set[str]:
    return {str(name) for name, *_ in db.execute("DESCRIBE rows").fetchall()}


def _distinct(db: duckdb.DuckDBPyConnection, m: int) -> Floats:
    counts = db.execute(
        """SELECT i, count(*) AS n FROM
           (SELECT DISTINCT i, hash(completion) FROM rows JOIN prompts USING (prompt_id) WHERE completion IS NOT NULL) GROUP BY i"""
    ).fetchnumpy()
    return _place(counts["n"], counts["i"].astype(np.int64), m, np.nan)


def _answers(db: duckdb.DuckDBPyConnection, source: str) -> str:
    """The column of what real answers earn; folders written before there was one have none."""
    names = {row[0] for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    return "answer_reward" if "answer_reward" in names else "NULL::DOUBLE AS answer_reward"


def _components(db: duckdb.DuckDBPyConnection, m: int) -> dict[str, Evidence]:
    several = db.execute("SELECT 1 FROM rows WHERE cardinality(rewards) > 1 LIMIT 1").fetchone()
    if several is None:
        return {}
    values = db.execute(
        """SELECT i, entry.key AS name, entry.value AS reward, count(*) AS n
           FROM (SELECT i, unnest(map_entries(rewards)) AS entry FROM rows JOIN prompts USING (prompt_id))
           WHERE isfinite(entry.value) GROUP BY i, entry.key, entry.value"""
    ).fetchnumpy()
    names, columns = np.asarray(values["name"], dtype=object), (values["i"].astype(np.int64), _floats(values["reward"]), values["n"])
    return {
        str(name): evidence_of_counts(i[mine], reward[mine], n[mine].astype(np.int64), m)
        for i, reward, n in [columns]
        for name in sorted(set(names))
        for mine in [names == name]
    }


def _signs(db: duckdb.DuckDBPyConnection, n_prompts: int) -> Signs:
    """Equal completions with different rewards, and what cut ones earn: from the views `rows` and `prompts`."""
    names = _columns(db)
    asked = "copied IS NOT true" if "copied" in names else "true"
    table = db.execute(
        f"""WITH texts AS (
                SELECT i, count(*) - 1 AS again, var_pop(reward) * count(*) AS squares,
                       NOT ({EQUAL_REWARDS}) AS unequal
                FROM rows JOIN prompts USING (prompt_id)
                WHERE isfinite(reward) AND completion <> '' AND {asked} GROUP BY i, step, truncated, hash(completion) HAVING count(*) > 1)
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
    if "copied" in names and db.execute("SELECT 1 FROM rows WHERE copied LIMIT 1").fetchone() is not None:
        signs = replace(signs, asked_std=_asked_std(db, n_prompts))
    return replace(signs, n_cut=cut[True][0], n_whole=cut[False][0], cut_mean=cut[True][1], whole_mean=cut[False][1])


def _asked_std(db: duckdb.DuckDBPyConnection, m: int) -> Floats:
    """[M] the within-prompt std of the rewards that were not copied."""
    table = db.execute(
        """SELECT i, stddev_samp(reward) AS std FROM rows JOIN prompts USING (prompt_id)
           WHERE isfinite(reward) AND copied IS NOT true GROUP BY i"""
    ).fetchnumpy()
    return _place(_floats(table["std"]), table["i"].astype(np.int64), m, np.nan)


def _known(db: duckdb.DuckDBPyConnection, m: int, logprob_error: float) -> KnownMass | None:
    """The known mass, from the views `rows` and `prompts`; None where no row tells its log-probability.

    A completion is told apart by its text and whether it was cut: of the several sequences of tokens that read alike, the likeliest counts.
    """
    names = _columns(db)
    if "logprob" not in names or db.execute("SELECT 1 FROM rows WHERE logprob IS NOT NULL LIMIT 1").fetchone() is None:
        return None
    rows = db.execute(
        f"""SELECT i, text, reward, max(mass) AS mass, min(place) AS place, count(*) AS n
            FROM (SELECT i, hash(completion, truncated) AS text, reward, exp(logprob - {logprob_error!r} * (n_tokens + 1)) AS mass,
                         row_number() OVER (PARTITION BY i ORDER BY sample_idx) - 1 AS place
                  FROM rows JOIN prompts USING (prompt_id) WHERE isfinite(logprob) AND isfinite(reward))
            GROUP BY i, text, reward"""
    ).fetchnumpy()
    prompt, rank, count = (rows[name].astype(np.int64) for name in ("i", "place", "n"))
    text = np.ma.getdata(rows["text"]).view(np.int64)
    return known_mass(prompt, text, _floats(rows["reward"]), _floats(rows["mass"]), m, rank=rank, count=count)


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
