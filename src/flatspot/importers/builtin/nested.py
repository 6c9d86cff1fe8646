"""Rows of JSON whose values are objects and lists: looked into without a fault, whatever stands there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.readers.blocks import BLOCK_CHARACTERS, BLOCK_ROWS, Block, Notice, note, rows_of
from flatspot.readers.files import file_blocks
from flatspot.readers.json_rows import blocks_of

Row = Mapping[str, Any]
PLACE = "flatspot_place"
"""The column that `spread_columns` adds: which row of its line a row is, from 0."""


def nested_blocks(
    path: Path, notices: list[Notice], keys: Sequence[str], rows: Callable[[Row], Iterable[Row]], blocks: Iterable[Block] | None = None
) -> Iterator[Block]:
    """The rows that each row of a JSON file stands for, in blocks of JSON text.

    keys    of its row, those that are looked into
    rows    its rows; none where it is no row of the format, which is noted
    blocks  of the file; None: it is read
    """

    def each() -> Iterator[tuple[int, dict[str, str]]]:
        for line, members in rows_of(file_blocks(path, notices) if blocks is None else blocks):
            try:
                values = {key: json.loads(members[key]) for key in keys if key in members}
                own = list(rows(values))
            except (ValueError, RecursionError) as error:  # more digits, or lists in lists, than Python reads
                note(notices, line, "row", f"cannot be read: {str(error)[:60]}")
                continue
            if not own:
                note(notices, line, "row", "not a row of this format")
            for row in own:
                yield line, json_cells(row)

    yield from blocks_of(each())


def json_cells(row: Row) -> dict[str, str]:
    """The JSON text of each value of a row; what is None is not there."""
    return {key: json.dumps(value) for key, value in row.items() if value is not None}


def at(value: Any, *keys: str | int) -> Any:
    """What stands under keys within keys; None where there is none.

    >>> at({"a": [{"b": 1}]}, "a", 0, "b"), at({"a": 1}, "a", "b")
    (1, None)
    """
    for key in keys:
        if isinstance(key, str) and isinstance(value, dict):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, list) and -len(value) <= key < len(value):
            value = value[key]
        else:
            return None
    return value


def list_of(value: Any) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def dict_of(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_of_error(value: Any) -> str:
    """An error as a trainer writes it, in one text of at most 200 characters.

    >>> text_of_error([{"type": "TimeoutError", "message": "120 s"}]), text_of_error("boom")
    ('TimeoutError: 120 s', 'boom')
    """
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict):
        named = [str(first[key]) for key in ("type", "error", "name") if isinstance(first.get(key), str)][:1]
        said = [str(first[key]) for key in ("message", "msg", "detail", "error_chain_str") if isinstance(first.get(key), str)][:1]
        first = ": ".join([*named, *said]) or json.dumps(first)
    return str(first)[:200]


def is_message(value: Any) -> bool:
    """Whether a value is a chat message."""
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def spread_columns(path: Path, notices: list[Notice], needed: Sequence[str]) -> Iterator[Block]:
    """The rows of JSON lines that hold a batch each, in columns: lists of one length. Other values are the same for all of its rows.

    needed  of the columns, those that must be lists of one length; a line of which they are not is noted
    """
    for line, members in rows_of(file_blocks(path, notices)):
        lists = {key: _elements(raw) for key, raw in members.items() if raw.startswith("[")}
        lengths = {len(lists[key]) if key in lists else -1 for key in needed if key in members}
        if len(lengths) != 1 or -1 in lengths:
            note(notices, line, "row", f"its columns {', '.join(needed)} are not lists of one length")
            continue
        n = lengths.pop()
        if not n:
            continue
        columns: dict[str, list[str | None]] = {
            key: lists[key] if key in lists and len(lists[key]) == n else [raw] * n for key, raw in members.items()
        }
        columns[PLACE] = list(map(str, range(n)))
        size = max(1, min(BLOCK_ROWS, int(n * BLOCK_CHARACTERS / (1 + sum(map(len, members.values()))))))
        for start in range(0, n, size):
            part = {key: column[start : start + size] for key, column in columns.items()}
            yield Block([line] * len(next(iter(part.values()))), part, sum(map(len, members.values())) * size // n)


def _elements(raw: str) -> list[str | None]:
    from flatspot.readers.json_text import items

    try:
        return [raw[start:end] for start, end in items(raw)]
    except ValueError:
        return []
