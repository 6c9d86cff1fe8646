"""What a reader hands on: rows in blocks, and what it noticed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flatspot.core.errors import FileError

BLOCK_ROWS = 8192
BLOCK_CHARACTERS = 16 << 20
ROW_LIMIT = 32 << 20  # characters of one row: a file that is not what its name says must not fill the memory
NO_NAME = "(no name)"  # an empty key, which SQL has no name for
TOO_LARGE = f"a row is larger than {ROW_LIMIT >> 20} MiB. Leave out its completions, or write the file as Parquet."

MOST_NOTICES = 100  # of one file that name their line; the others are only counted, for a file may have one on every line
MARK = "\ufeff"  # a byte order mark within a file, as where files were joined

Kind = Literal["row", "header", "bytes", "surrogates", "inside"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a user must hear about one line of a file.

    kind  "row": the line is not a row and was left out; "header": a header within the file; "bytes": bytes that are not UTF-8, shown as
          \\xNN; "surrogates": unpaired surrogates, shown as U+FFFD; "inside": which list of a JSON object holds the rows
    times how many lines of its kind it stands for, itself the first of them
    """

    line: int
    kind: Kind
    why: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of one file.

    lines    the line (of a JSON array or Parquet: the row) that each row starts at, from 1
    columns  name → a value per row: text as written (CSV), or the text of a JSON value; None where the row has no such column
    size     how many characters the rows are, about
    """

    lines: Sequence[int]
    columns: dict[str, list[str | None]]
    size: int = 0


def note(notices: list[Notice], line: int, kind: Kind, why: str) -> None:
    """Add a notice to those of a file; where there are many, count it with the last one of its kind.

    >>> notices = []
    >>> for line in range(1, 1001):
    ...     note(notices, line, "row", "no row")
    >>> len(notices), sum(notice.times for notice in notices)
    (101, 1000)
    """
    for i in range(MOST_NOTICES, len(notices)):
        if notices[i].kind == kind:
            notices[i] = replace(notices[i], times=notices[i].times + 1)
            return
    notices.append(Notice(line, kind, why))


def check_names(names: Iterable[str], where: str) -> None:
    """Raise `FileError` where a column is there twice."""
    earlier = set()
    for name in names:
        if name in earlier:
            raise FileError(f"{where}: the column {name!r} is there twice; rename or drop one of them.")
        earlier.add(name)


def rows_of(blocks: Iterable[Block]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row of the blocks with its line, without the columns it does not have.

    >>> list(rows_of([Block([2, 5], {"a": ["1", None], "b": ["x", "y"]})]))
    [(2, {'a': '1', 'b': 'x'}), (5, {'b': 'y'})]
    """
    for block in blocks:
        for i, line in enumerate(block.lines):
            yield line, {name: cell for name, cells in block.columns.items() if (cell := cells[i]) is not None}
