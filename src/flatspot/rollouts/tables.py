"""Read the Parquet files of a run folder, or say which one is damaged and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import RunFolderError

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A file whole; raises `RunFolderError` where it cannot be read, or lacks one of `columns`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _check(file, pq.read_schema(file).names, columns or ())
        return pq.ParquetFile(file).read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from error


def read_batches(file: Path, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """A file of rollouts, so many rows at a time; raises `RunFolderError` where it cannot be read, or is something else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            _check(file, opened.schema_arrow.names, columns or ("prompt_id", "completion", "reward", "rewards", "error"))
            for batch in opened.iter_batches(rows, columns=columns):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from error


def _check(file: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    if lacking := [name for name in needed if name not in names]:
        raise damaged(file, f"it has no column {lacking[0]!r}")


def damaged(file: Path, why: object) -> RunFolderError:
    """The error of a file that cannot be read, with what writes it anew."""
    anew = (
        f"Run flatspot inspect {file.parent}, which writes it anew."
        if file.name == "verdicts.parquet"
        else "Delete that file, if it is there, and run the same flatspot diagnose or inspect again, which writes it anew."
    )
    return RunFolderError(f"{file} cannot be read ({str(why).strip().splitlines()[0]}). {anew}")
