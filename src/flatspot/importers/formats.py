"""What a format of logs is: flatspot's own (`importers.detection`), and those that other packages add to `flatspot.importers`.

A format turns files into rows; from there on its log is read as any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flatspot.core.errors import ExtensionError, FileError, ImportFormatError
from flatspot.core.extensions import Extension, extensions
from flatspot.importers.arranged import Arranged, Log
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.in_memory import json_line, write_log
from flatspot.rollouts.notes import Caveat
from flatspot.verdicts.codes import CODES


@dataclass(frozen=True, slots=True)
class LogFiles:
    """Files that are read by flatspot's own readers, and what their rows mean; they are never held in memory.

    blocks    the rows of a file, as `flatspot.readers.files.file_blocks` gives them; Parquet is read where it lies
    arrange   what the columns of all files mean
    variants  which variants of the format they are
    """

    files: tuple[Path, ...]
    blocks: Callable[[Path, list[Notice]], Iterator[Block]]
    arrange: Callable[[Log], Arranged]
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRows:
    """What a format makes of files.

    rows     a mapping per completion, or a table (anything with an Arrow stream): `prompt` (text or chat messages), `completion`, `reward`
             (a number; None where it failed), and as far as the format has them `prompt_id`, `step`, `sample_idx`, `truncated`, `n_tokens`,
             `error`, `split`, `kept`. Further columns that are one value per prompt are kept with the prompt
    caveats  what a reader must know, such as what the format hides: sentences, or pairs of a code and a sentence. A code is one of
             `verdicts.codes.CODES`, or begins with the format's name and a hyphen
    """

    rows: Iterable[Mapping[str, Any]] | Any
    caveats: Sequence[Caveat] = ()


@runtime_checkable
class LogFormat(Protocol):
    """What an entry point of `flatspot.importers` is: an object or a module with these two functions, or a class of such objects."""

    def detect(self, path: Path) -> float:
        """How surely a file or folder is a log of this format, from 0 (it is not) to 1; it is asked often, and reads little."""
        ...

    def read(self, paths: Sequence[Path]) -> LogRows:
        """The rows of the files and folders that a user named. Raises `ImportFormatError` for what the user can fix."""
        ...


@dataclass(frozen=True, slots=True)
class Added:
    """A format of another package."""

    extension: Extension
    format: LogFormat

    def certainty(self, paths: Sequence[Path]) -> float:
        """The least of what `detect` says of the paths."""
        with self.extension.running():
            return min(float(self.format.detect(path)) for path in paths)

    def write(self, paths: Sequence[Path], folder: Path) -> tuple[Path, tuple[Caveat, ...]]:
        """Read the paths into one file of rows in `folder`; the file, and the caveats.

        Raises `ExtensionError` where the format fails, or gives no rows.
        """
        with self.extension.running():
            read: object = self.format.read(paths)
        if not isinstance(read, LogRows):
            raise self.extension.error(f"expected its read to return flatspot.importers.formats.LogRows, got {type(read).__name__}")
        file = _write_rows(self.extension, read.rows, folder)
        return file, tuple(_checked(self.extension, caveat) for caveat in read.caveats)


def surest_format(paths: Sequence[Path], passed: Collection[str], say: Callable[[str], None]) -> Added | None:
    """The format of another package that is surest of all paths; None where none is.

    passed  names that are built in, and so not asked
    say     gets a line for a format that cannot be loaded, where none was named

    Raises `ImportFormatError` where several are equally sure.
    """
    sure: dict[str, tuple[float, Added]] = {}
    for added in extensions("importers").values():
        if added.name in passed:
            continue
        try:
            candidate = load_format(added)
            sure[added.name] = candidate.certainty(paths), candidate
        except ExtensionError as error:  # nobody named it, and another format may read this log
            say(str(error))
    best = max((certainty for certainty, _ in sure.values()), default=0.0)
    first = [candidate for certainty, candidate in sure.values() if certainty == best > 0]
    if len(first) > 1:
        names = [candidate.extension.name for candidate in first]
        raise ImportFormatError(f"{paths[0]} may be a log of the formats {', '.join(names)}. Say which: --format {names[0]}")
    return first[0] if first else None


def load_format(added: Extension) -> Added:
    """A format that another package adds. Raises `ExtensionError` where it cannot be loaded, or is none."""
    format = added.load()
    if inspect.isclass(format):
        with added.running():
            format = format()
    if not isinstance(format, LogFormat):
        raise added.error(f"expected the functions detect and read, got {type(format).__name__}")
    return Added(added, format)


def _checked(added: Extension, caveat: object) -> Caveat:
    if isinstance(caveat, str):
        return caveat
    if isinstance(caveat, list | tuple) and len(caveat) == 2 and all(isinstance(part, str) for part in caveat):
        code, text = caveat
        if code in CODES or code.startswith(f"{added.name}-"):
            return code, text
        raise added.error(f"the code {code!r} of a caveat is neither one of flatspot's own nor begins with {added.name}-")
    raise added.error(f"expected a caveat to be a sentence, or a code and a sentence, got {caveat!r:.80}")


def _write_rows(added: Extension, rows: object, folder: Path) -> Path:
    """One file of the rows: Parquet of a table, else JSON lines, written one by one."""
    if hasattr(rows, "__arrow_c_stream__"):
        try:
            written = write_log(rows, folder)
        except FileError as error:
            raise added.error(str(error)) from None
        if written is None:
            raise added.error("expected its rows to be a table, got a column")
        return written[0]
    if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
        raise added.error(f"expected its rows to be mappings or a table, got {type(rows).__name__}")
    file, number = folder / "log.jsonl", 0
    with file.open("w", encoding="utf-8") as out:
        for number, row in enumerate(_each(added, rows), 1):
            if not isinstance(row, Mapping):
                raise added.error(f"expected row {number} to be a mapping, got {type(row).__name__}")
            try:
                out.write(json_line(row, number))
            except FileError as error:
                raise added.error(str(error)) from None
    if not number:
        raise ImportFormatError(f"these files hold no rows of the format {added.name!r}")
    return file


def _each(added: Extension, rows: Iterable[object]) -> Iterator[object]:
    """The rows one by one; what making one of them raises names the package."""
    with added.running():
        iterator = iter(rows)
    while True:
        with added.running():
            try:
                row = next(iterator)
            except StopIteration:
                return
        yield row
