"""The rows of a log that grows, kept from one look at it to the next: of its files only what is new is read.

Of JSON lines that is what was appended, up to the last line that is complete; a file of another kind that changed is read again whole, and
so is one that was rewritten or cut. Memory per file is a few numbers: the rows lie in Parquet parts (`readers.parts`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import FileError
from flatspot.core.sql import literal
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.encodings import MARKED, text_of
from flatspot.readers.files import CSV, JSON_LINES
from flatspot.readers.parts import FILE, Parts

if TYPE_CHECKING:
    import duckdb

Blocks = Callable[[Path, list[Notice]], Iterator[Block]]

PART = "flatspot:part"  # the part that a row lies in, as DuckDB names it
_CHUNK = 1 << 20
_MOST_PARTS = 64  # before they are joined: a part for each of a thousand looks would take longer to open than to read


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file.

    stamp         its size, time and inode as it was looked at
    end, newlines how many bytes were read, and how many lines end in them
    digest        of these bytes, by which a file that was rewritten is told
    rows, notices what they gave
    """

    stamp: tuple[int, int, int]
    end: int = 0
    newlines: int = 0
    digest: bytes = b""
    rows: int = 0
    notices: tuple[Notice, ...] = ()


class KeptRows:
    """Rows of CSV and JSON files in a folder of ours, for as long as a log is followed.

    parts       where they lie
    bytes_read  how many bytes of the log the last look read
    """

    def __init__(self, folder: Path) -> None:
        self.parts = Parts(folder / "rows")
        self.bytes_read = 0
        (folder / "rows").mkdir()
        self._mirror = folder / "new"
        self._blocks: Blocks | None = None
        self._read: dict[Path, _Read] = {}
        self._from: dict[Path, int] = {}  # the first part that holds rows of a file as it is now, where earlier ones hold others

    def look(self, files: Sequence[Path], blocks: Blocks) -> dict[Path, tuple[int, tuple[Notice, ...]]]:
        """Read what is new in the files; for each, how many rows it has, and what was noticed in it, since it was first read.

        A last line that is not complete is left for a later look. Raises `FileError` as `blocks` does: then the look can be repeated.
        """
        self.bytes_read = 0
        for gone in self._read.keys() - (set(files) if blocks is self._blocks else set()):
            self._drop(gone)
        self._blocks = blocks
        for path in files:
            try:
                stamp = stamp_of(path)
                before = self._read.get(path)
                if before is None or before.stamp != stamp:
                    self._update(path, replace(before, stamp=stamp) if before else _Read(stamp), blocks)
            except OSError as error:  # it was there a moment ago
                raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
        self.parts.close()
        return {path: (self._read[path].rows, self._read[path].notices) for path in files}

    def where(self) -> str:
        """SQL over the parts, with the name of a row's part as `PART`: whether the row is of a file as it is now."""
        part = f'parse_filename("{PART}")'
        stale = [f'("{FILE}" = {literal(str(path))} AND {part} < {literal(self.parts.name_of(i))})' for path, i in self._from.items()]
        return f"NOT ({' OR '.join(stale)})" if stale else "true"

    def join(self, db: duckdb.DuckDBPyConnection, source: Callable[[Sequence[Path], str], str]) -> None:
        """Put the parts into one where there are many.

        source  SQL of the rows of some parts, with options
        """
        if len(self.parts.paths) <= _MOST_PARTS:
            return
        whole, rows = self.parts.begin(), source(self.parts.paths, f", filename = '{PART}'")
        own = f'SELECT * EXCLUDE ("{PART}") FROM {rows} WHERE {self.where()}'
        db.execute(f"COPY ({own}) TO {literal(str(whole))} (FORMAT parquet, COMPRESSION snappy)")
        for path in self.parts.paths:
            path.unlink()
        self.parts.paths = [whole]
        self._from.clear()

    def _update(self, path: Path, before: _Read, blocks: Blocks) -> None:
        """Read a file on from where it was read, or again where it is no longer what was read of it."""
        grows = path.suffix.lower() in JSON_LINES and not _is_marked(path)
        if before.end and not (grows and _digest_of(path, before.end) == before.digest):
            self._drop(path)
            before = _Read(before.stamp)
        if not grows and path.suffix.lower() not in CSV:
            self._take(path, path, before, blocks, before.stamp[0], 0)
            return
        end = _end_of_lines(path, before.end, before.stamp[0], complete=_is_object if grows else None)
        if end == before.end:
            self._read[path] = before
            return
        mirror = self._mirror / path.absolute().relative_to(path.absolute().anchor)  # a format may look at the folders of a file
        mirror.parent.mkdir(parents=True, exist_ok=True)
        try:
            newlines = _copy(path, mirror, before.end, end)
            self._take(path, mirror, before, blocks, end, newlines)
        finally:
            shutil.rmtree(self._mirror)

    def _take(self, path: Path, holds: Path, before: _Read, blocks: Blocks, end: int, newlines: int) -> None:
        """Take the rows of a file that `holds` what is new of `path`, which is then read up to `end`."""
        notices: list[Notice] = []
        rows, first = 0, before.newlines
        try:
            for block in blocks(holds, notices):
                rows += len(block.lines)
                self.parts.add(replace(block, lines=[line + first for line in block.lines]) if first else block, path)
        except FileError as error:
            self._drop(path)  # the rows before the fault count once it can be read
            raise FileError(str(error).replace(str(holds), str(path))) from None
        noticed = (*before.notices, *(replace(notice, line=notice.line + first) for notice in notices))
        self.bytes_read += end - before.end
        digest = _digest_of(path, end)
        self._read[path] = _Read(before.stamp, end, first + newlines, digest, before.rows + rows, noticed)

    def _drop(self, path: Path) -> None:
        """Count the rows of a file that there are so far no longer."""
        self.parts.close()
        self._from[path] = self.parts.n_begun
        self._read.pop(path, None)


def stamp_of(path: Path) -> tuple[int, int, int]:
    """What changes when a file does: its size, its time, its inode."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino


def _is_marked(path: Path) -> bool:
    """Whether a file begins with a byte order mark, which what was appended lacks."""
    with path.open("rb") as stream:
        return stream.read(4).startswith(MARKED)


def _digest_of(path: Path, end: int) -> bytes:
    """A digest of the bytes before `end`; of a file that is shorter it is another."""
    own = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while end and (chunk := stream.read(min(_CHUNK, end))):
            own.update(chunk)
            end -= len(chunk)
    own.update(b"%d" % end)
    return own.digest()


def _end_of_lines(path: Path, start: int, size: int, complete: Callable[[bytes], bool] | None) -> int:
    """Where the last line ends of what stands between two places of a file; a line without an end counts where it is `complete`."""
    with path.open("rb") as stream:
        end, last = size, b""
        while end > start:
            stream.seek(begin := max(start, end - _CHUNK))
            chunk = stream.read(end - begin)
            if (cut := chunk.rfind(b"\n") + 1) or begin == start:
                last, end = chunk[cut:] + last, begin + cut
                break
            last, end = chunk + last, begin
    return size if last and complete is not None and complete(last) else end


def _copy(path: Path, to: Path, start: int, end: int) -> int:
    """Copy a part of a file; returns how many lines end in it. Raises `FileError` where it became shorter meanwhile."""
    newlines = 0
    with path.open("rb") as source, to.open("wb") as target:
        source.seek(start)
        while start < end:
            if not (chunk := source.read(min(_CHUNK, end - start))):
                raise FileError(f"{path}: it was cut while it was read.")
            target.write(chunk)
            start += len(chunk)
            newlines += chunk.count(b"\n")
    return newlines


def _is_object(line: bytes) -> bool:
    """Whether a line is a JSON object: what is cut off before its end never is."""
    try:
        return isinstance(json.loads(text_of(line), parse_int=str, parse_float=str), dict)
    except (ValueError, RecursionError):
        return False
