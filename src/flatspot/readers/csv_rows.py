"""CSV and TSV: every cell is the text that stands in it.

The header decides the delimiter. A row with another number of cells, or with a broken quote, is left out and named; where such a row may
have swallowed others, the file is refused. A header within the file is passed over, and the rows after it belong to its columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import BinaryIO, TextIO

from flatspot.core.errors import FileError
from flatspot.readers.blocks import MARK, ROW_LIMIT, TOO_LARGE, Block, Notice, check_names, note
from flatspot.readers.encodings import bad_byte, convert, has_other_bytes, shown, text_of

_DELIMITERS = ",;\t|"
_QUOTED = re.compile('"[^"]*"')
_FIRST_CHUNK, _CHUNK = 1 << 16, 1 << 20  # characters
_NAME = re.compile(r"[^\W\d][\w./:@ -]{0,63}")
_VALUES = ("true", "false", "none", "null", "nan", "na", "inf", "yes", "no")  # names no column
_BAD_SHARE = 0.2  # with more bad rows than this, it is the file that is wrong, not its rows
_SPLIT = (
    "its lines do not split into the same number of cells; a cell that holds a delimiter or a line break must stand in double quotes, "
    'and a double quote in it must be doubled ("").'
)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Whole rows of a file, and the lines they stand in.

    starts  the line each row starts at
    faults  place in `rows` → why this is no row
    first   the number of the first of `lines`
    """

    starts: list[int]
    rows: list[list[str]]
    faults: dict[int, str]
    lines: list[str]
    first: int

    def lines_of(self, i: int) -> list[str]:
        """The lines of one row."""
        end = self.starts[i + 1] - self.first if i + 1 < len(self.starts) else len(self.lines)
        return self.lines[self.starts[i] - self.first : end]


def csv_blocks(stream: BinaryIO, where: str, notices: list[Notice], *, delimiter: str | None = None) -> Iterator[Block]:
    """The rows of a CSV file in blocks; bad rows and further headers go to `notices`.

    stream     UTF-8, after its byte order mark; it can seek
    delimiter  None: the one of , ; tab | that stands most often in the header, outside quotes

    Raises `FileError` where a column is there twice, where a row without an end may hold others, or where too many rows are bad.
    """
    delimiter = delimiter or delimiter_of(_first_line(stream))
    names: list[str] = []
    header_cells: frozenset[str] = frozenset()
    n_rows = n_bad = last_bad = 0
    for chunk in _chunks(stream, where, notices, delimiter):
        alike = not chunk.faults and set(map(len, chunk.rows)) == {len(names)}
        if alike and header_cells.isdisjoint(chain.from_iterable(chunk.rows)):  # the common case, decided without a loop
            yield _block(names, chunk.starts, chunk.rows)
            n_rows, last_bad = n_rows + len(chunk.rows), 0
            continue
        good: list[int] = []
        for i, row in enumerate(chunk.rows):
            start, why = chunk.starts[i], chunk.faults.get(i, "")
            if not why and (not names or (not header_cells.isdisjoint(row) and _is_header(_unmarked(row), names))):
                own = _unmarked(row)  # this is a header
                if good:
                    yield _block(names, [chunk.starts[k] for k in good], [chunk.rows[k] for k in good])
                good = []
                if names:
                    note(notices, start, "header", _header_again(own, names))
                if any(map(has_other_bytes, chunk.lines_of(i))):
                    raise convert(f"{where}:{start}", "".join(chunk.lines_of(i)))
                names = header_names(own, f"{where}:{start}")
                # as a header may be written again
                header_cells = frozenset([*names, *filter(None, row), MARK + own[0], f'{MARK}"{own[0]}"'])
            elif why or (len(row) != len(names) and any(row[len(names) :] or [" "])):
                _check_swallowed(chunk.lines_of(i), start, where, delimiter, len(names))
                note(notices, start, "row", why or f"{len(row)} {'cell' if len(row) == 1 else 'cells'} for {len(names)} columns")
                n_bad, last_bad = n_bad + 1, start
            else:
                good.append(i)
                n_rows, last_bad = n_rows + 1, 0
        if good:
            yield _block(names, [chunk.starts[k] for k in good], [chunk.rows[k] for k in good])
    cut = 1 if last_bad else 0  # a killed run leaves its last row unfinished
    if n_bad - cut > _BAD_SHARE * (n_rows + n_bad):
        raise FileError(f"{where}: {n_bad} of {n_rows + n_bad} rows are unreadable: {_SPLIT}")


def header_names(row: Sequence[str], where: str) -> list[str]:
    """The names of the columns of a header, without spaces around them; a column without a name is "(column N)".

    >>> header_names(["", " prompt "], "a.csv")
    ['(column 1)', 'prompt']
    """
    names = [cell.strip() or f"(column {i})" for i, cell in enumerate(row, 1)]
    check_names(names, where)
    return names


def delimiter_of(line: str) -> str:
    """The delimiter of a header: the one of , ; tab | that stands most often in it, outside quotes.

    >>> delimiter_of('"a;b,c,d";e')
    ';'
    """
    return max(_DELIMITERS, key=_QUOTED.sub("", line).count)


def _first_line(stream: BinaryIO) -> str:
    """The first line that holds something; the stream stays where it is."""
    start = stream.tell()
    line = next((line for line in iter(lambda: stream.readline(ROW_LIMIT), b"") if line.strip()), b"")
    stream.seek(start)
    return text_of(line)


def _chunks(stream: BinaryIO, where: str, notices: list[Notice], delimiter: str) -> Iterator[_Chunk]:
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    csv.field_size_limit(ROW_LIMIT)
    number = 1
    try:
        while characters := text.read(_CHUNK if number > 1 else _FIRST_CHUNK):
            lines = list(io.StringIO(characters + _line(text, where, number), newline=""))
            chunk = _chunk(lines, text, where, number, delimiter)
            number += len(lines)
            yield _readable(chunk, notices)
    finally:
        text.detach()  # else it would close the stream, which is its caller's


def _chunk(lines: list[str], text: TextIO, where: str, first: int, delimiter: str) -> _Chunk:
    """The rows of the lines; `lines` takes further ones from `text` where their last row goes on."""
    starts: list[int] = []
    rows: list[list[str]] = []
    faults: dict[int, str] = {}
    begun = 0

    def further() -> Iterator[str]:
        while reader.line_num > begun and (line := _line(text, where, first + len(lines))):
            lines.append(line)
            yield line

    reader = csv.reader(chain(list(lines), further()), delimiter=delimiter, strict=True)
    while True:
        begun = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return _Chunk(starts, rows, faults, lines, first)
        except csv.Error as error:
            row = []
            faults[len(rows)] = _why(error)
        if row or len(rows) in faults:  # the others are empty lines
            rows.append(row)
            starts.append(first + begun)


def _line(text: TextIO, where: str, number: int) -> str:
    line = text.readline(ROW_LIMIT + 1)
    if len(line) > ROW_LIMIT:
        raise FileError(f"{where}:{number}: {TOO_LARGE}")
    return line


def _readable(chunk: _Chunk, notices: list[Notice]) -> _Chunk:
    """The chunk with the bytes that are not UTF-8 written out."""
    if all(map(str.isascii, chunk.lines)) or not any(map(has_other_bytes, chunk.lines)):
        return chunk
    for i, line in enumerate(chunk.lines, chunk.first):
        if has_other_bytes(line):
            note(notices, i, "bytes", bad_byte(line))
    return replace(chunk, rows=[[shown(cell) for cell in row] for row in chunk.rows])


def _why(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a double quote that is never closed"
    return TOO_LARGE if "limit" in str(error) else "a double quote inside a cell that is not doubled"


def _unmarked(row: list[str]) -> list[str]:
    """The row without a byte order mark before it, as the second header of files that were joined has one."""
    if not row or not row[0].startswith(MARK):
        return row
    first = row[0].removeprefix(MARK)
    quoted = len(first) > 1 and first[0] == first[-1] == '"'
    return [first[1:-1] if quoted else first, *row[1:]]


def _is_header(row: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is a header: most of its cells are names of columns, each once, and the others could be such names."""
    cells = [cell.strip() for cell in row]
    if cells == list(names):
        return True
    fresh = [cell for cell in cells if cell not in names]
    n_names = len(cells) - len(fresh)
    enough = n_names >= max(2, (min(len(row), len(names)) + 1) // 2)
    return enough and len(set(cells)) == len(cells) and all(map(_is_name, fresh))


def _is_name(cell: str) -> bool:
    return bool(_NAME.fullmatch(cell)) and cell.count(" ") < 3 and cell.lower() not in _VALUES


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


def _block(names: Sequence[str], starts: list[int], rows: list[list[str]]) -> Block:
    """The rows as columns; empty cells after the last column are dropped."""
    cells = zip(*rows, strict=True) if len(set(map(len, rows))) == 1 else zip(*(row[: len(names)] for row in rows), strict=True)
    columns = {name: list(column) for name, column in zip(names, cells, strict=False)}
    return Block(starts, columns, sum(sum(map(len, column)) for column in columns.values()))
