"""The rows of log files as the SQL view `log`, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import FileError, ImportFormatError
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import file_blocks
from flatspot.readers.kept import KeptRows
from flatspot.readers.log import open_log as read_log
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb


def open_log(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    scratch: Path,
    caveats: list[Caveat],
    blocks: Callable[[Path, list[Notice]], Iterator[Block]] = file_blocks,
    kept: KeptRows | None = None,
) -> dict[str, str]:
    """Create the view `log`, as `flatspot.readers.log.open_log` does; a file that cannot be read is an `ImportFormatError`."""
    noticed: list[str] = []
    try:
        types = read_log(db, files, scratch, noticed, blocks, kept)
    except FileError as error:
        raise ImportFormatError(str(error)) from None
    caveats += noticed
    return types


def what_was_wrong(error: Exception) -> str:
    """What DuckDB said, without its advice on options nobody here can set."""
    return next(line.strip() for line in str(error).splitlines() if line.strip())[:300]
