"""Rows that are the turns of an episode: an episode is one completion, however many rows it has.

The view `rows` is a row per row of the log; `cells` is what is judged, made here: the same rows, or a row per episode with the prompt of
its first turn, the completion of its last one, and the reward once where it is the same on all turns, else the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.core.errors import ImportFormatError
from flatspot.importers import cells
from flatspot.importers.columns import ColumnMap
from flatspot.importers.rows import Cells
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

_FEWEST = 5  # episodes that it takes to tell from the rewards alone
_MOST = 0.05  # of the episodes that may begin in the middle, as those cut off at the start of a file do; of the rows without a reward
_GROWTH = 10  # characters that a turn adds to the prompt of the next, at least


@dataclass(frozen=True, slots=True)
class _Turns:
    """How rows make up episodes.

    number  SQL: what grows from turn to turn
    within  SQL, columns of `rows` that are the same on all rows of an episode
    why     what a reader must know of it
    step    the step counts the turns, and so is none of a training
    """

    number: str
    within: tuple[str, ...]
    why: str
    step: bool = False


def join_turns(
    db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells, *, are_turns: bool | None, where: str, caveats: list[Caveat]
) -> None:
    """Make the view `cells` of `rows`.

    are_turns : --turn-col states that rows are turns (True) or that they are not (False); None: it was not given

    Raises `ImportFormatError` where rows are turns and it cannot be told of which episode.
    """
    turns = None if are_turns is False else _by_column(db, columns, log_cells, are_turns=bool(are_turns), where=where, caveats=caveats)
    if turns is None and are_turns is None and log_cells.ids:
        turns = _by_growing_prompts(db, columns, log_cells) or _by_step(db, columns, log_cells)
    if turns is None:
        db.execute("CREATE OR REPLACE VIEW cells AS SELECT * FROM rows")
        return
    db.execute(f"CREATE OR REPLACE VIEW episodes AS {_numbered(turns)}")
    same = [_is_same(db, i) for i in range(len(log_cells.rewards))]
    db.execute(f"CREATE OR REPLACE VIEW cells AS {_joined(log_cells, turns, same)}")
    how = "once, for it is the same on all its turns" if all(same) else "the sum over its turns"
    caveats.append(
        f"Rows are turns of episodes ({turns.why}): an episode is one completion, its prompt that of the first turn, its reward "
        f"counted {how} (--turn-col none reads each row as a completion)."
    )


def _by_column(
    db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells, *, are_turns: bool, where: str, caveats: list[Caveat]
) -> _Turns | None:
    if "turn" not in columns.names:
        return None
    name = columns.names["turn"][0]
    row = db.execute("SELECT count(DISTINCT turn), count(episode), count(sample_idx) FROM rows").fetchone() or (0, 0, 0)
    if row[0] < 2:
        return None
    if not are_turns and _counts_rows(db, log_cells):
        caveats.append(
            f"`{name}` numbers the rows of each file, not turns, so each row is a completion (--turn-col {name}: they are turns)."
        )
        return None
    numbers = [ours for ours, n in (("episode", row[1]), ("sample_idx", row[2])) if n]
    for within in _places(log_cells, numbers):
        turns = _Turns("turn", within, f"`{name}` counts them")
        if _begin_at_the_start(db, turns):
            return turns
    if are_turns or _thins_out(db, log_cells):
        raise ImportFormatError(
            f"{where}: `{name}` counts the turns of episodes, but not which rows are one episode. Name the column that "
            "says it: --episode-col COLUMN; or say that each row is a completion: --turn-col none"
        )
    caveats.append(f"`{name}` does not count the rows of an episode, so each row is a completion (--turn-col {name} reads them as turns).")
    return None


def _places(log_cells: Cells, numbers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What may hold an episode together, the narrowest first."""
    ids = ["id_0"] if log_cells.ids else []
    for own in ([*ids, *numbers], numbers, ids, []):
        yield ("source", "step", *own)


def _by_growing_prompts(db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells) -> _Turns | None:
    """Each prompt of an id begins with the one before it, or is its first one again."""
    if not columns.names.get("prompt"):
        return None
    several = "SELECT 1 FROM rows WHERE id_0 IS NOT NULL GROUP BY id_0 HAVING min(hash(key)) <> max(hash(key)) LIMIT 1"
    if db.execute(several).fetchone() is None:
        return None
    within = ("source", "id_0", "sample_idx", "episode")
    by = ", ".join(within)
    row = db.execute(
        f"""SELECT count_if(key <> before), count_if(key <> before AND (grown OR key = first)), count_if(grown) FROM
            (SELECT key, lag(key) OVER own AS before, first_value(key) OVER own AS first,
                    starts_with(key, before) AND length(key) >= length(before) + {_GROWTH} AS grown FROM rows WHERE id_0 IS NOT NULL
             WINDOW own AS (PARTITION BY {by} ORDER BY line))"""
    ).fetchone() or (0, 0, 0)
    changes, expected, grown = (n or 0 for n in row)
    if not grown or expected < (1 - _MOST) * changes:
        return None
    return _Turns("length(key)", within, f"the prompts of one `{log_cells.ids[0]}` begin with one another")


def _by_step(db: duckdb.DuckDBPyConnection, columns: ColumnMap, log_cells: Cells) -> _Turns | None:
    """One row per episode and step, the reward the same on all rows of an episode, and not the same for all episodes.

    Where an id has several episodes, theirs must differ somewhere: flat groups of a training look the same otherwise. A few rows may have
    no reward.
    """
    if "step" not in columns.names:
        return None
    row = db.execute(
        f"""WITH own AS (SELECT id_0, count(*) AS n, count(DISTINCT step) AS steps, min(number_0) AS low, max(number_0) AS high,
                               count(number_0) AS scored FROM rows WHERE id_0 IS NOT NULL GROUP BY source, id_0, sample_idx, episode)
           SELECT count(*), min(n), bool_and(n = steps) AND bool_and(low = high) AND sum(n - scored) <= {_MOST} * sum(n),
                  min(low) < max(low), count(DISTINCT id_0),
                  (SELECT count(*) FROM (SELECT id_0 FROM own GROUP BY id_0 HAVING min(low) < max(low))) FROM own"""
    ).fetchone()
    if not row or row[0] < _FEWEST or row[1] < 3 or not (row[2] and row[3]) or not (row[0] == row[4] or row[5]):
        return None
    step, name = columns.names["step"][0], log_cells.ids[0]
    why = f"each `{name}` has one row for each `{step}`, all with one reward"
    return _Turns("step", ("source", "id_0", "sample_idx", "episode"), why, step=True)


def _numbered(turns: _Turns) -> str:
    """`rows` with the episode of each: a new one begins where the number does not grow, and a row without a number is its own."""
    apart = ", ".join([*turns.within, f"{turns.number} IS NULL"])
    own = f"PARTITION BY {apart} ORDER BY line, sample_idx"
    before = f"SELECT *, {turns.number} AS turn_number, lag({turns.number}) OVER ({own}) AS before FROM rows"
    begins = "CASE WHEN before IS NULL OR turn_number <= before THEN 1 ELSE 0 END"
    visit = f"SELECT *, sum({begins}) OVER ({own} ROWS UNBOUNDED PRECEDING) AS visit FROM ({before})"
    return f"SELECT *, dense_rank() OVER (ORDER BY {apart}, visit) AS episode_number FROM ({visit})"


def _begin_at_the_start(db: duckdb.DuckDBPyConnection, turns: _Turns) -> bool:
    row = db.execute(
        f"""SELECT count(*), count_if(first > least) FROM (SELECT min(turn_number) AS first, min(min(turn_number)) OVER () AS least
            FROM ({_numbered(turns)}) GROUP BY episode_number)"""
    ).fetchone() or (0, 0)
    return (row[1] or 0) <= _MOST * row[0]


def _counts_rows(db: duckdb.DuckDBPyConnection, log_cells: Cells) -> bool:
    """Whether the number is another on every row of a file that holds several prompts, each on several rows: not one episode then.

    Where there is no id, the rows of a prompt must stand together, for an episode may come back to what it showed before.
    """
    own = "id_0" if log_cells.ids else "key"
    together = "" if log_cells.ids else "AND changes < own"
    rows = f"SELECT source, turn, {own} AS own, lag({own}) OVER (PARTITION BY source ORDER BY line) AS before FROM rows"
    row = db.execute(
        f"""SELECT bool_and(n = turns), bool_or(own > 1 AND own < n {together}) FROM
            (SELECT count(*) AS n, count(DISTINCT turn) AS turns, count(DISTINCT own) AS own, count_if(own <> before) AS changes
             FROM ({rows}) GROUP BY source)"""
    ).fetchone() or (False, False)
    return bool(row[0] and row[1])


def _thins_out(db: duckdb.DuckDBPyConnection, log_cells: Cells) -> bool:
    """Whether there are never more rows of a later turn than of the one before, as where rows are turns."""
    by = "id_0" if log_cells.ids else "1"
    counts = f"SELECT {by} AS place, turn, count(*) AS n FROM rows WHERE turn IS NOT NULL GROUP BY 1, 2"
    row = db.execute(
        f"""SELECT count(*), count_if(n > before OR turn > 1 + earlier) FROM
            (SELECT *, lag(n) OVER own AS before, lag(turn) OVER own AS earlier FROM ({counts})
             WINDOW own AS (PARTITION BY place ORDER BY turn))"""
    ).fetchone() or (0, 0)
    return (row[1] or 0) <= _MOST * row[0]


def _is_same(db: duckdb.DuckDBPyConnection, i: int) -> bool:
    """Whether no episode has two different rewards, and few turns have none: where most have none, those there are may add up."""
    each = f"SELECT min(number_{i}) AS low, max(number_{i}) AS high, count(*) AS n, count(number_{i}) AS scored FROM episodes"
    row = db.execute(
        f"SELECT bool_and(low = high) AND sum(n - scored) <= {_MOST} * sum(n) FROM ({each} GROUP BY episode_number)"
    ).fetchone()
    return bool(row and row[0])


def _joined(log_cells: Cells, turns: _Turns, same: Sequence[bool]) -> str:
    """A row per episode with the columns of `rows`; a reward that is no number on one turn is none of the episode."""
    order = "ORDER BY turn_number, line"
    first = ["prompt", "is_chat", "key", "split", "kept", "fixed", "episode", "drawn_with", "source"]
    first += [f"id_{i}" for i in range(len(log_cells.ids))] + [f"answer_{i}" for i in range(len(log_cells.answers))]
    first += [f"extra_{i}" for i in range(len(log_cells.extras))]
    picked = [f"first({name} {order}) AS {name}" for name in first]
    picked += [f"last({name} {order}) AS {name}" for name in ("completion", "completion_is_chat", "blank")]
    for i, once in enumerate(same):
        bad = f"number_{i} IS NULL AND NOT {cells.nothing(f'shown_{i}')}"
        total = f"max(number_{i})" if once else f"sum(number_{i})"
        number = f"CASE WHEN NOT bool_or({bad}) THEN {total} END"
        shown = f"coalesce(first(CAST(shown_{i} AS VARCHAR) {order}) FILTER ({bad}), CAST({total} AS VARCHAR))"
        picked += [f"{number} AS number_{i}", f"{shown} AS shown_{i}"]
    picked += [f"{'NULL::BIGINT' if turns.step else 'min(step)'} AS step", "bool_or(truncated) AS truncated"]
    picked += ["CAST(sum(n_tokens) AS INT) AS n_tokens", f"first(error {order}) FILTER (error IS NOT NULL) AS error"]
    picked += ["max(turn) AS turn", "NULL::INT AS sample_idx", "true AS starts_line", "min(line) AS line"]
    return f"SELECT {', '.join(picked)} FROM episodes GROUP BY episode_number ORDER BY source, line"


def rows_are_turns(wanted: object) -> bool | None:
    """What --turn-col says: a column is one of turns, "none" says that there are none, nothing is nothing.

    >>> rows_are_turns("turn"), rows_are_turns("none"), rows_are_turns(None)
    (True, False, None)
    """
    return None if not wanted else wanted != "none"
