"""The rows of log files as the SQL view `log`, with errors that name the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import FileError, ImportFormatError
from flatspot.readers.log import open_log as read_log

if TYPE_CHECKING:
    import duckdb


def open_log(db: duckdb.DuckDBPyConnection, files: Sequence[Path], scratch: Path, caveats: list[str]) -> dict[str, str]:
    """Create the view `log`, as `flatspot.readers.log.open_log` does; a file that cannot be read is an `ImportFormatError`."""
    try:
        return read_log(db, files, scratch, caveats)
    except FileError as error:
        raise ImportFormatError(str(error)) from None


def what_was_wrong(error: Exception) -> str:
    """What DuckDB said, without its advice on options nobody here can set."""
    return next(line.strip() for line in str(error).splitlines() if line.strip())[:300]
