"""Many files of one format to the SQL view `log`, with every cell as it is written.

CSV and JSON go through our own readers into Parquet parts in a scratch folder, a few at a time, so memory depends neither on the number
of files nor on their size; Parquet is read where it lies. Paths are paths: no pattern in them is expanded, no `key=value` read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import FileError
from flatspot.core.sql import literal
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import CSV, PARQUET, file_blocks, unit_of
from flatspot.readers.kept import PART, KeptRows
from flatspot.readers.notices import sentences
from flatspot.readers.parquet_columns import mixed_numbers, parquet_columns
from flatspot.readers.parts import FILE as PART_FILE
from flatspot.readers.parts import ROW as PART_ROW
from flatspot.readers.parts import Parts

if TYPE_CHECKING:
    import duckdb

FILE, ROW = "_file", "_row"
_PARQUET_FILE = "flatspot:file"
_EXACT = 2**53  # every whole number up to here is a double
_BAD_SHARE = 0.5  # with more bad lines than this, it is the file that is wrong, not its lines
_PATTERN = re.compile(r"([*?\[])")


def open_log(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    scratch: Path,
    caveats: list[str],
    blocks: Callable[[Path, list[Notice]], Iterator[Block]] = file_blocks,
    kept: KeptRows | None = None,
) -> dict[str, str]:
    """Create the view `log` of all rows of `files`, in their order; returns its columns' types by name, as DuckDB calls them.

    files    of one format, told by their endings
    scratch  an empty folder for the rows of CSV and JSON; the view lives as long as it does
    blocks   how a file that is not Parquet is read: what it gives is text of JSON, unless the files are CSV
    kept     what earlier looks at a log that grows have read of CSV and JSON; then only what is new is, and rows are in the order read

    A column is one of three families:

    VARCHAR  a cell of CSV as written; an empty cell is ''; NULL where the row's file has no such column
    JSON     the text of a JSON value, numbers as written; JSON null is 'null'; NULL where the row has no such key
    Parquet's own type

    Two more columns name each row: `_file` (VARCHAR, its path) and `_row` (BIGINT, the line it starts at, in a JSON array and in Parquet
    its number, from 1). What was left out or shown otherwise is said in `caveats`.

    Raises `FileError` where there are no rows, a column is there twice, or a file cannot be read; `duckdb.Error` for damaged Parquet.
    """
    parquet = files[0].suffix.lower() == PARQUET
    types = _open_parquet(db, files, caveats) if parquet else _open_text(db, files, scratch, caveats, blocks, kept)
    if db.execute("SELECT 1 FROM log LIMIT 1").fetchone() is None:
        raise _no_rows(files)
    return types


def named(files: Sequence[Path]) -> str:
    """The files, in a message."""
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def path_sql(path: str | Path) -> str:
    """A path as SQL writes it, with nothing in it a pattern.

    >>> path_sql("run[1]/it's*.parquet")
    "'run[[]1]/it''s[*].parquet'"
    """
    return literal(_PATTERN.sub(r"[\1]", str(path)))


def name_sql(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def _open_text(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    scratch: Path,
    caveats: list[str],
    blocks: Callable[[Path, list[Notice]], Iterator[Block]],
    kept: KeptRows | None,
) -> dict[str, str]:
    parts = kept.parts if kept else Parts(scratch)
    noticed = kept.look(files, blocks) if kept else _read_all(files, parts, blocks)
    if kept:
        for path, (n_rows, of_file) in noticed.items():
            _check_share(path, of_file, n_rows)
        kept.join(db, _source)
    notices = [(path, notice) for path, (_, of_file) in noticed.items() for notice in of_file]
    is_csv = files[0].suffix.lower() in CSV
    if not parts.paths:
        raise _no_rows(files)
    caveats += sentences(notices)
    picked = {name: name_sql(name) if is_csv else f"CAST({name_sql(name)} AS JSON)" for name in _not_ours(parts.names, caveats)}
    options, where = (f", filename = '{PART}'", kept.where()) if kept else ("", "")
    return _create(db, parts.paths, picked | {FILE: name_sql(PART_FILE), ROW: name_sql(PART_ROW)}, options, where)


def _read_all(
    files: Sequence[Path], parts: Parts, blocks: Callable[[Path, list[Notice]], Iterator[Block]]
) -> dict[Path, tuple[int, tuple[Notice, ...]]]:
    """Read the files into parts; for each, how many rows it has, and what was noticed in it."""
    found: dict[Path, tuple[int, tuple[Notice, ...]]] = {}
    for path in files:
        of_file: list[Notice] = []
        n_rows = 0
        for block in blocks(path, of_file):
            parts.add(block, path)
            n_rows += len(block.lines)
        _check_share(path, of_file, n_rows)
        found[path] = n_rows, tuple(of_file)
    parts.close()
    return found


def _check_share(path: Path, notices: Sequence[Notice], n_rows: int) -> None:
    """Raise where too many lines are no rows; one of them may be the last one of a killed run. In CSV, the reader has looked already."""
    bad = [notice for notice in notices if notice.kind == "row"]
    unit, n = unit_of(path.suffix.lower()), sum(notice.times for notice in bad)
    is_csv = path.suffix.lower() in CSV
    if n and not n_rows:
        what = "row has a cell for every column" if is_csv else f"{unit} is a JSON object"
        raise FileError(f"{path}: not one {what} ({unit} {bad[0].line}: {bad[0].why}).")
    if not is_csv and n - 1 > _BAD_SHARE * (n_rows + n):
        raise FileError(
            f"{path}: {n} of {n_rows + n} {unit}s are not JSON objects, such as {unit} {bad[0].line} ({bad[0].why}). Fix or remove them."
        )


def _open_parquet(db: duckdb.DuckDBPyConnection, files: Sequence[Path], caveats: list[str]) -> dict[str, str]:
    columns = parquet_columns(files)
    for name, paths in mixed_numbers(columns).items():
        row = db.execute(f"SELECT max(abs({name_sql(name)}::HUGEINT)) FROM {_source(paths)}").fetchone()
        if row and row[0] is not None and row[0] > _EXACT:
            raise FileError(
                f"{paths[0]}: the column {name!r} holds whole numbers here that a decimal number cannot hold ({row[0]}), and decimal "
                "numbers in other files. Write it as text in all of them, or inspect them one by one."
            )
    numbered = "file_row_number" not in map(str.lower, columns)  # DuckDB's name for it, of which there can be one
    picked = {name: name_sql(name) for name in _not_ours(columns, caveats) if name}
    options = f", filename = '{_PARQUET_FILE}'" + ", file_row_number = true" * numbered
    row_number = "file_row_number + 1" if numbered else "CAST(NULL AS BIGINT)"
    return _create(db, files, picked | {FILE: name_sql(_PARQUET_FILE), ROW: row_number}, options)


def _not_ours(names: Iterable[str], caveats: list[str]) -> list[str]:
    """The columns of a log but those of our own names."""
    log_names = [name for name in names if name.lower() not in (FILE, ROW)]
    if len(log_names) < len(list(names)):
        caveats.append(f"The log's own columns {FILE} and {ROW} are skipped: flatspot uses these names itself.")
    return log_names


def _create(
    db: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Mapping[str, str], options: str = "", where: str = ""
) -> dict[str, str]:
    """The view `log` of Parquet files; returns its columns' types by name."""
    picked = ", ".join(f"{sql} AS {name_sql(name)}" for name, sql in columns.items())
    condition = f" WHERE {where}" if where else ""
    db.execute(f"CREATE OR REPLACE VIEW log AS SELECT {picked} FROM {_source(files, options)}{condition}")
    return {str(name): str(kind) for name, kind, *_ in db.execute("DESCRIBE log").fetchall()}


def _source(files: Sequence[Path], options: str = "") -> str:
    return f"read_parquet([{', '.join(map(path_sql, files))}], union_by_name = true, hive_partitioning = false{options})"


def _no_rows(files: Sequence[Path]) -> FileError:
    return FileError(f"{named(files)}: there are no rows; expected one per completion, or per prompt with a list of rewards.")
