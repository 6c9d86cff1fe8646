"""Which rows of a log are judged: those of some of its steps, or of one split. Each step has another policy; a window has fewer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import ImportFormatError, SettingsError
from flatspot.core.shares import percent
from flatspot.core.sql import literal
from flatspot.importers import cells
from flatspot.importers.arranged import Log
from flatspot.importers.columns import ColumnMap
from flatspot.rollouts.notes import Caveat
from flatspot.stats.evidence import EQUAL_REWARDS

if TYPE_CHECKING:
    import duckdb

_FEWEST_GROUPS = 8  # in the last steps: a share of fewer says nothing


@dataclass(frozen=True, slots=True)
class Window:
    """What of a log is judged; all of it where nothing is set.

    first, final  the steps from one to the other, both with it; None: from the start, to the end
    last          the last so many of the steps that are there
    split         the rows of this split, as the log or its format calls it
    """

    first: int | None = None
    final: int | None = None
    last: int | None = None
    split: str | None = None

    def __bool__(self) -> bool:
        return self != Window()

    def identity(self) -> dict[str, Any]:
        """What of it a run depends on."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def window(steps: str | tuple[int | None, int | None] | None = None, last: int | None = None, split: str | None = None) -> Window:
    """The window that a user asks for. Raises `SettingsError` where it is none.

    >>> window("100:200"), window(":5").final, window(last=3).last
    (Window(first=100, final=200, last=None, split=None), 5, 3)
    """
    if steps is not None and last is not None:
        raise SettingsError("--steps and --last both pick steps: give one of them")
    if last is not None and last < 1:
        raise SettingsError(f"--last must be a number of steps, 1 or more, got {last}")
    first, final = _ends(steps) if isinstance(steps, str) else steps or (None, None)
    if first is not None and final is not None and first > final:
        raise SettingsError(f"--steps {first}:{final} holds no step: the first one comes first")
    return Window(first, final, last, split)


def _ends(steps: str) -> tuple[int | None, int | None]:
    parts = steps.split(":")
    try:
        first, final = (int(part) if part.strip() else None for part in parts)
    except ValueError:
        raise SettingsError(f"--steps must be A:B, such as 100:200, 100: or :200, got {steps!r}") from None
    return first, final


def keep_window(db: duckdb.DuckDBPyConnection, wanted: Window, where: str) -> list[Caveat]:
    """Leave the rows of the window in the view `cells`, and say what was left out.

    where  the log, in a message

    Raises `ImportFormatError` where the log does not say steps or splits, or has none of those asked for.
    """
    if not wanted:
        return []
    said = []
    clauses = ["true"]
    if wanted.split is not None:
        of_row = "coalesce(split, 'train')"
        there = [row[0] for row in db.execute(f"SELECT DISTINCT {of_row} FROM cells ORDER BY 1").fetchall()]
        if wanted.split not in there:
            raise ImportFormatError(f"{where}: no row is of the split {wanted.split!r}; there are: {', '.join(there)}.")
        clauses.append(f"{of_row} = {literal(wanted.split)}")
        said.append(f"the split {wanted.split}")
    if (wanted.first, wanted.final, wanted.last) != (None, None, None):
        steps = [
            row[0] for row in db.execute(f"SELECT DISTINCT step FROM cells WHERE {clauses[-1]} AND step IS NOT NULL ORDER BY 1").fetchall()
        ]
        if not steps:
            raise ImportFormatError(f"{where}: the log does not say steps, so none can be picked: leave out --steps and --last.")
        kept = steps[-wanted.last :] if wanted.last else [s for s in steps if _inside(s, wanted)]
        if not kept:
            raise ImportFormatError(f"{where}: no row is of the steps asked for; there are steps {steps[0]} to {steps[-1]}.")
        clauses.append(f"step BETWEEN {kept[0]} AND {kept[-1]}")
        said.append(f"{len(kept)} of {len(steps)} steps ({kept[0]} to {kept[-1]})")
    db.execute("ALTER VIEW cells RENAME TO cells_of_all")
    db.execute(f"CREATE VIEW cells AS SELECT * FROM cells_of_all WHERE {' AND '.join(clauses)}")
    return [f"Of the log, {' and '.join(said)} are judged, as asked for." if len(said) > 1 else f"Judged, as asked for: {said[0]}."]


def unread_steps(log: Log, columns: ColumnMap) -> list[Caveat]:
    """The caveat where steps are written as no whole numbers: such rows are of no step that is known."""
    [column] = columns.names.get("step", ("",))[:1]
    if not column or cells.is_list(kind := log.types[column]):
        return []
    wrong = f"{log.text(column)} IS NOT NULL AND {cells.whole(cells.name(column), kind, 'BIGINT')} IS NULL"
    n_wrong, n, example = log.one(f"SELECT count_if({wrong}), count(*), min({log.text(column)}) FILTER ({wrong}) FROM log")
    if not n_wrong:
        return []
    text = (
        f"On {n_wrong:,} of {n:,} rows the step, `{column}`, is no whole number (such as {example!r:.40}), so it is not known: these rows "
        "are judged together, as if one policy had drawn them."
    )
    return [("several-policies", text)]


def _inside(step: int, wanted: Window) -> bool:
    return (wanted.first is None or step >= wanted.first) and (wanted.final is None or step <= wanted.final)


def last_window(db: duckdb.DuckDBPyConnection, rows: str) -> str:
    """A sentence on the groups whose rewards are equal: in all steps, and in the last quarter of them; "" where there are too few.

    rows  SQL of the rows, each with what was drawn together with it: one step may hold several groups of a prompt, as evaluations do, too
    """
    row = db.execute(
        f"""WITH groups AS (SELECT step, {EQUAL_REWARDS} AS flat FROM {rows} WHERE step IS NOT NULL AND isfinite(reward)
                            GROUP BY step, split, hash(prompt_id), drawn_with HAVING count(*) > 1),
                 steps AS (SELECT step, count(*) AS n, count_if(flat) AS flat FROM groups GROUP BY step),
                 ends AS (SELECT greatest(1, CAST(count(*) / 4 AS BIGINT)) AS width FROM steps),
                 ranked AS (SELECT *, row_number() OVER (ORDER BY step DESC) <= width AS late FROM steps, ends)
            SELECT sum(n), sum(flat), sum(n) FILTER (late), sum(flat) FILTER (late), any_value(width) FROM ranked"""
    ).fetchone()
    n, flat, n_last, flat_last, width = (number or 0 for number in row or [0] * 5)  # sums over no groups are null
    if n_last < _FEWEST_GROUPS:
        return ""
    steps = f"{width} steps" if width > 1 else "step"
    of_last = f"{percent(flat_last / n_last)} of the {n_last:,} of the last {steps} (--last {width})"
    return f" Rewards are equal in {percent(flat / n)} of all {n:,} groups, and in {of_last}."
