"""CSV and TSV: every cell is the text that stands in it.

The header decides the delimiter. A row with another number of cells, or with a broken quote, is left out and named; where such a row may
have swallowed others, the file is refused. A header within the file is passed over, and the rows after it belong to its columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import BinaryIO

from flatspot.core.errors import FileError
from flatspot.readers.blocks import BLOCK_CHARACTERS, BLOCK_ROWS, ROW_LIMIT, TOO_LARGE, Block, Notice, check_names
from flatspot.readers.encodings import has_other_bytes, shown

_DELIMITERS = ",;\t|"
_QUOTED = re.compile('"[^"]*"')
_BAD_SHARE = 0.2  # with more bad rows than this, it is the file that is wrong, not its rows
_SPLIT = (
    "its lines do not split into the same number of cells; a cell that holds a delimiter or a line break must stand in double quotes, "
    'and a double quote in it must be doubled ("").'
)


def csv_blocks(
    stream: BinaryIO, where: str, notices: list[Notice], *, delimiter: str | None = None, block_rows: int = BLOCK_ROWS
) -> Iterator[Block]:
    """The rows of a CSV file in blocks; bad rows and further headers go to `notices`.

    stream     UTF-8, without a byte order mark
    delimiter  None: the one of , ; tab | that stands most often in the header, outside quotes

    Raises `FileError` where a column is there twice, where a row without an end may hold others, or where too many rows are bad.
    """
    held: list[str] = []  # the lines of the row being read
    lines = _lines(stream, where, held, notices)
    head = list(_head(lines))
    chosen = delimiter or max(_DELIMITERS, key=_QUOTED.sub("", head[-1] if head else "").count)
    names: list[str] = []
    known: frozenset[str] = frozenset()
    rows: list[list[str]] = []
    starts: list[int] = []
    size = n_rows = n_bad = last_bad = 0
    for start, row, why in _records(chain(head, lines), chosen, held):
        if not why and len(row) == len(names) and known.isdisjoint(row):  # the common case, decided first
            pass
        elif row and (not names or _is_header(row, names)):
            if rows:
                yield _block(names, starts, rows, size)
            rows, starts, size = [], [], 0
            if names:
                notices.append(Notice(start, "header", _header_again(row, names)))
            names = header_names(row, f"{where}:{start}")
            known = frozenset(names)
            continue
        elif why or (len(row) != len(names) and any(row[len(names) :] or [" "])):
            _check_swallowed(held, start, where, chosen, len(names))
            notices.append(Notice(start, "row", why or f"{len(row)} cells for {len(names)} columns"))
            n_bad, last_bad = n_bad + 1, start
            continue
        n_rows, last_bad = n_rows + 1, 0
        rows.append(row[: len(names)])
        starts.append(start)
        size += sum(map(len, held))
        if len(rows) >= block_rows or size >= BLOCK_CHARACTERS:
            yield _block(names, starts, rows, size)
            rows, starts, size = [], [], 0
    if rows:
        yield _block(names, starts, rows, size)
    cut = 1 if last_bad else 0  # a killed run leaves its last row unfinished
    if n_bad - cut > _BAD_SHARE * (n_rows + n_bad):
        raise FileError(f"{where}: {n_bad} of {n_rows + n_bad} rows are no rows: {_SPLIT}")


def header_names(row: Sequence[str], where: str) -> list[str]:
    """The names of the columns of a header, without spaces around them; a column without a name is "(column N)".

    >>> header_names(["", " prompt "], "a.csv")
    ['(column 1)', 'prompt']
    """
    names = [cell.strip() or f"(column {i})" for i, cell in enumerate(row, 1)]
    check_names(names, where)
    return names


def _lines(stream: BinaryIO, where: str, held: list[str], notices: list[Notice]) -> Iterator[str]:
    """The lines of a file as `csv.reader` takes them, each also put into `held`."""
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        for number, line in enumerate(iter(lambda: text.readline(ROW_LIMIT + 1), ""), 1):
            if len(line) > ROW_LIMIT:
                raise FileError(f"{where}:{number}: {TOO_LARGE}")
            if not line.isascii() and has_other_bytes(line):
                notices.append(Notice(number, "bytes", "not UTF-8"))
                line = shown(line)
            held.append(line)
            yield line
    finally:
        text.detach()  # else it would close the stream, which is its caller's


def _records(lines: Iterator[str], delimiter: str, held: list[str]) -> Iterator[tuple[int, list[str], str]]:
    """Each row with the line it starts at, or why it is none; empty lines are passed over."""
    csv.field_size_limit(ROW_LIMIT)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        held.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, [], _why(error)
            continue
        if row:
            yield start, row, ""


def _head(lines: Iterator[str]) -> Iterator[str]:
    """The lines up to the first that is not empty."""
    for line in lines:
        yield line
        if line.strip("\r\n"):
            return


def _why(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a double quote that is never closed"
    return TOO_LARGE if "limit" in str(error) else "a double quote inside a cell that is not doubled"


def _is_header(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is a header: most of its cells are names of columns, each once."""
    cells = [cell.strip() for cell in row]
    known = sum(cell in names for cell in cells)
    return cells == list(names) or (known >= max(2, (min(len(row), len(names)) + 1) // 2) and len(set(cells)) == len(cells))


def _header_again(row: Sequence[str], names: Sequence[str]) -> str:
    cells = [cell.strip() for cell in row]
    return "the header again" if cells == list(names) else f"another header ({', '.join(cells)}); the rows after it belong to its columns"


def _check_swallowed(held: Sequence[str], start: int, where: str, delimiter: str, n_cells: int) -> None:
    """Raise where a bad row over several lines holds whole rows: a quote without its partner may have swallowed them."""
    for line in held[1:]:
        try:
            whole = n_cells > 1 and len(next(csv.reader([line], delimiter=delimiter, strict=True), [])) == n_cells
        except csv.Error:
            continue
        if whole:
            raise FileError(
                f"{where}:{start}: a double quote in this row has no partner, or is not doubled, so the rows after it cannot be told from "
                "its text. Fix this row, or remove it."
            )


def _block(names: Sequence[str], starts: list[int], rows: list[list[str]], size: int) -> Block:
    return Block(starts, {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}, size)
