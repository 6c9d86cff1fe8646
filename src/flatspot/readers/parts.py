"""Blocks of rows of many files into a few Parquet files, so that neither many files nor late columns cost memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.errors import FileError
from flatspot.readers.blocks import NO_NAME, Block

FILE, ROW = "flatspot:file", "flatspot:row"  # columns of ours beside those of the log
_ROWS = 65_536
_CHARACTERS = 64 << 20
_CELLS = 4_000_000
_MOST_COLUMNS = 5_000


class Parts:
    """Parquet files in a folder, which take the rows of blocks in their order.

    Every column is text, `FILE` and `ROW` name each row. Where new columns come up, a new file is begun, and so it is after `close`.

    n_begun  how many files were begun
    """

    def __init__(self, folder: Path) -> None:
        self.names: dict[str, None] = {}  # of all columns so far, in the order of their first row
        self.paths: list[Path] = []
        self.n_begun = 0
        self._folder = folder
        self._folded: dict[str, str] = {}
        self._written: tuple[str, ...] = ()  # the columns of the file being written
        self._writer: Any = None
        self._clear()

    def add(self, block: Block, path: Path) -> None:
        """Take the rows of a block of a file."""
        if "" in block.columns:
            block = _with_names(block, path)
        fresh = block.columns.keys() - self.names.keys()
        for name in block.columns if fresh else ():
            self._take_name(name, path, block)
        for name, cells in block.columns.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._n - len(column)))
            column.extend(cells)
        self._n += len(block.lines)
        lines = block.lines
        if isinstance(lines, range):  # as of rows that are alike: no number of which need be made one by one
            self._lines.append(np.arange(lines.start, lines.stop, lines.step))
        else:
            self._lines.append(np.array(lines, np.int64))
        self._files.append((str(path), len(block.lines)))
        self._size += block.size
        if self._n >= _ROWS or self._size >= _CHARACTERS or self._n * len(self.names) >= _CELLS:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            raise self._full(error) from None
        self._writer = None

    def begin(self) -> Path:
        """A name for the next file."""
        self.n_begun += 1
        return self._folder / self.name_of(self.n_begun - 1)

    @staticmethod
    def name_of(number: int) -> str:
        """What the file of a number is called; later ones sort behind.

        >>> Parts.name_of(7)
        '000007.parquet'
        """
        return f"{number:06d}.parquet"

    def _clear(self) -> None:
        self._columns: dict[str, list[str | None]] = {}
        self._lines: list[np.ndarray] = []
        self._files: list[tuple[str, int]] = []
        self._n = self._size = 0

    def _take_name(self, name: str, path: Path, block: Block) -> None:
        """SQL does not tell upper from lower case, so two such columns would be one."""
        if name in self.names:
            return
        other = self._folded.setdefault(name.lower(), name)
        if other != name:
            raise FileError(f"{path}: the columns {other!r} and {name!r} differ in case alone; rename or drop one of them.")
        self.names[name] = None
        if len(self.names) > _MOST_COLUMNS:
            raise FileError(
                f"{path}:{block.lines[0]}: more than {_MOST_COLUMNS:,} different columns up to here. Put what differs from row to row, "
                "such as ids used as keys, into one column."
            )

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._n:
            return
        names = tuple(self.names)
        arrays = []
        for name in names:
            cells = self._columns.get(name, [])
            cells.extend([None] * (self._n - len(cells)))
            arrays.append(pa.array(cells, pa.string()))
        files = list(dict.fromkeys(path for path, _ in self._files))
        place = {path: i for i, path in enumerate(files)}
        which = np.repeat(np.array([place[path] for path, _ in self._files], np.int32), [n for _, n in self._files])
        arrays.append(pa.DictionaryArray.from_arrays(pa.array(which), pa.array(files, pa.string())))
        arrays.append(pa.array(np.concatenate(self._lines), pa.int64()))
        table = pa.Table.from_arrays(arrays, names=[*names, FILE, ROW])
        try:
            if self._writer is None or names != self._written:
                if self._writer is not None:
                    self._writer.close()
                self.paths.append(self.begin())
                self._writer = pq.ParquetWriter(self.paths[-1], table.schema, compression="snappy")
                self._written = names
            self._writer.write_table(table)
        except OSError as error:
            raise self._full(error) from None
        self._clear()

    def _full(self, error: OSError) -> FileError:
        why = error.strerror or error
        return FileError(
            f"{self._folder}: cannot hold the rows while they are read: {why}. Set TMPDIR to a folder with enough space for the log."
        )


def _with_names(block: Block, path: Path) -> Block:
    """The block with a name for an empty key, which SQL has none for."""
    if NO_NAME in block.columns:
        raise FileError(f"{path}:{block.lines[0]}: the keys '' and {NO_NAME!r} are one column here; rename or drop one of them.")
    return replace(block, columns={name or NO_NAME: cells for name, cells in block.columns.items()})
