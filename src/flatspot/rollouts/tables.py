"""Read the Parquet files of a run folder, or raise an error that names the damaged one and the fix."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import RunFolderError
from flatspot.core.sql import literal
from flatspot.rollouts.checksums import is_sound

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq


def read_table(file: Path, columns: Sequence[str] | None = None, *, optional: Collection[str] = ()) -> pa.Table:
    """A file whole; raises `RunFolderError` where it cannot be read, is damaged, or lacks one of `columns` that is not `optional`."""
    with _opened(file, [name for name in columns or () if name not in optional]) as parquet:
        return parquet.read(columns=None if columns is None else list(columns))


def read_batches(file: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A file of rollouts, so many rows at a time; raises `RunFolderError` where it cannot be read, is damaged, or is something else."""
    import pyarrow as pa

    with _opened(file, columns or ("prompt_id", "completion", "reward", "rewards", "error")) as parquet:
        for batch in parquet.iter_batches(rows, columns=columns):
            yield pa.Table.from_batches([batch])


@contextmanager
def _opened(file: Path, needed: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Exactly this file, its checksum compared; never by its name, which pyarrow might take for an address (`s3:…`)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_sound([file])
    try:
        with file.open("rb") as opened, pq.ParquetFile(opened) as parquet:
            if lacking := [name for name in needed if name not in parquet.schema_arrow.names]:
                raise damaged(file, f"it has no column {lacking[0]!r}")
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from error


def check_sound(files: Iterable[Path]) -> None:
    """Raise `RunFolderError` for the first file that is not what was written into it (`rollouts.checksums`), or cannot be read."""
    for file in files:
        try:
            sound = is_sound(file)
        except OSError as error:
            raise damaged(file, error) from error
        if not sound:
            raise damaged(file, "its bytes are not those that were written: the checksum differs")


def parquet_source(db: duckdb.DuckDBPyConnection, files: Sequence[Path], options: str = "") -> str:
    """SQL that reads exactly these Parquet files: no name is a pattern, and no folder called `name=value` is a column.

    Raises `RunFolderError` for a name that DuckDB cannot be given.
    """
    names = ", ".join(literal(_pattern(db, file)) for file in files)
    return f"read_parquet([{names}], hive_partitioning = false, union_by_name = false{options and f', {options}'})"


def _pattern(db: duckdb.DuckDBPyConnection, file: Path) -> str:
    """What DuckDB, which takes every name for a pattern, must be told to open one file; absolute, so that it is no address either."""
    plain = str(file.absolute())
    pattern = re.sub(r"[*?[]", r"[\g<0>]", plain)
    if is_utf8(file) and (pattern == plain or db.execute("SELECT file FROM glob(?)", [pattern]).fetchall() == [(plain,)]):
        return pattern
    raise RunFolderError(
        f"{file}: files under this name cannot be read (it is not UTF-8, or holds a backslash beside one of * ? [). "
        "Rename the folder, or give another --out."
    )


def is_utf8(path: Path) -> bool:
    """Whether a path is UTF-8, as nearly all are: DuckDB can be given no other."""
    return all(not "\ud800" <= character <= "\udfff" for character in str(path.absolute()))


def damaged(file: Path, why: object) -> RunFolderError:
    """The error of a file that cannot be read, with what writes it anew."""
    anew = (
        f"Run flatspot inspect {file.parent}, which writes it anew."
        if file.name == "verdicts.parquet"
        else "Delete that file, if it is there, and run the same flatspot diagnose or inspect again, which writes it anew."
    )
    return RunFolderError(f"{file} cannot be read ({str(why).strip().splitlines()[0]}). {anew}")
