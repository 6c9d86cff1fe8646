"""What a format says of the rows it has read: which column is what, which rows count, and what a reader must know.

The rows stand in the view `log`, as `flatspot.readers.log.open_log` makes it. A format looks at them with SQL and returns an
`Arranged`; `arrange` then makes `log` anew, with the columns that the format adds and without the rows that it leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import ImportFormatError
from flatspot.core.sql import literal
from flatspot.importers import cells
from flatspot.importers.columns import PLACES, ColumnMap
from flatspot.importers.layout import Layout
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb


ONE_POLICY = "''"


@dataclass(frozen=True, slots=True)
class Log:
    """The rows that a format has read, in the view `log`.

    types  its columns, as DuckDB names their types
    files  where the rows come from
    """

    db: duckdb.DuckDBPyConnection
    types: Mapping[str, str]
    files: Sequence[Path]

    def has(self, *columns: str) -> bool:
        """Whether all of these columns are there."""
        return all(column in self.types for column in columns)

    def text(self, column: str) -> str:
        """SQL: the text of a cell, null where it is empty or where there is no such column."""
        return cells.filled(cells.name(column), self.types[column]) if column in self.types else "CAST(NULL AS VARCHAR)"

    def number(self, column: str) -> str:
        """SQL: a cell as a number; null where it is none."""
        return cells.number(cells.name(column), self.types[column]) if column in self.types else "CAST(NULL AS DOUBLE)"

    def path(self, tail: str = "") -> str:
        """SQL: the whole path of a row's file, with slashes, without what the regular expression `tail` finds in it."""
        here = literal(f"{Path.cwd()}/")
        whole = f"CASE WHEN regexp_matches(_file, '^([A-Za-z]:|/|{chr(92) * 2})') THEN _file ELSE {here} || _file END"
        slashes = f"replace({whole}, chr(92), '/')"
        return f"regexp_replace({slashes}, {literal(tail)}, '')" if tail else slashes

    def one(self, sql: str) -> tuple[Any, ...]:
        """The one row of a statement over `log`, its nulls as 0."""
        row = self.db.execute(sql).fetchone()
        return tuple(0 if value is None else value for value in row or ())

    def numeric(self, columns: Sequence[str]) -> list[str]:
        """Those of the columns that hold a number somewhere, and nothing else anywhere."""
        if not columns:
            return []
        facts = [f"count({self.number(c)}), count_if({self.number(c)} IS NULL AND NOT {cells.nothing(self.text(c))})" for c in columns]
        row = self.one(f"SELECT {', '.join(facts)} FROM log")
        return [column for i, column in enumerate(columns) if row[2 * i] and not row[2 * i + 1]]


@dataclass(frozen=True)
class Arranged:
    """What a format says of its rows.

    names      our name → the log's column, or columns; "reward" with several columns is their sum
    ids        columns that may name the prompt: believed only where each value has one prompt
    group_by   columns that together name the prompt, for the format has made sure of it; then `ids` are not looked at
    layout     what a row stands for
    weights    of the columns of the reward; None: they are not known, and 1 each is assumed
    parts      column → what a part of the reward is called, where the reward is not their sum but a column of its own
    part_weights  of the parts, as far as they are known
    derived    new column → SQL over the columns of the log
    dropped    columns that neither a verdict nor a reward has a use for, such as ids of tokens
    where      SQL: which rows count
    survivors  "never": no group was left out for its rewards; "": none was, as far as the format says; "possible": the trainer can do
               that, and marks it nowhere; "assumed": it did unless a flat group is there; "certain"
    policy     SQL: what is one for all rows of a run, or of a model that was evaluated (`ONE_POLICY`: they are of one); "": the folder of
               their file
    caveats    sentences with their codes
    """

    names: Mapping[str, str | tuple[str, ...]]
    ids: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    layout: Layout = "long"
    weights: tuple[float, ...] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    part_weights: Mapping[str, float] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    dropped: Sequence[str] = ()
    where: str = ""
    survivors: str = ""
    policy: str = ""
    caveats: Sequence[Caveat] = ()


def arrange(log: Log, arranged: Arranged, user: Mapping[str, str | Sequence[str] | None]) -> tuple[Log, ColumnMap]:
    """Make the view `log` anew as the format says; what a user says of columns goes before it.

    Raises `ImportFormatError` where a user names a column that is not there.
    """
    log.db.execute("ALTER VIEW log RENAME TO log_as_read")
    kept = [cells.name(column) for column in log.types if column not in arranged.derived and column not in arranged.dropped]
    picked = [*kept, *(f"{sql} AS {cells.name(column)}" for column, sql in arranged.derived.items())]
    where = f" WHERE {arranged.where}" if arranged.where else ""
    log.db.execute(f"CREATE VIEW log AS SELECT {', '.join(picked)} FROM log_as_read{where}")
    types = {str(name): str(kind) for name, kind, *_ in log.db.execute("DESCRIBE log").fetchall()}
    names = {ours: (column,) if isinstance(column, str) else tuple(column) for ours, column in arranged.names.items()}
    chosen = {ours: (given,) if isinstance(given, str) else tuple(given) for ours, given in user.items() if given}
    for column in (column for columns in chosen.values() for column in columns):
        if column not in types:
            there = ", ".join(repr(name) for name in types if name not in PLACES)
            raise ImportFormatError(f"{log.files[0]}: there is no column {column!r}; it has {there}.")
    ids = chosen.pop("prompt_id", None) or arranged.group_by or arranged.ids
    named = frozenset(ours for ours, given in user.items() if given)
    return Log(log.db, types, log.files), ColumnMap({**names, **chosen}, ids, named, types)
