"""A JSON document: one list of objects, an object that holds exactly one, a table of columns and data, or objects one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from flatspot.core.errors import FileError
from flatspot.readers.blocks import BLOCK_ROWS, Block, Notice, check_names, note
from flatspot.readers.encodings import bad_byte, has_other_bytes, shown, text_of
from flatspot.readers.json_rows import blocks_of, paired_row, twice
from flatspot.readers.json_text import Members, elements, items, members, skip_space


def json_blocks(
    stream: BinaryIO, where: str, notices: list[Notice], *, block_rows: int = BLOCK_ROWS, replace_surrogates: bool = True
) -> Iterator[Block]:
    """The rows of a JSON document in blocks, their number in it as their line.

    stream  UTF-8, after its byte order mark
    block_rows, replace_surrogates  as for `files.stream_blocks`

    Elements that are no objects go to `notices`. Raises `FileError` where the document is damaged, or holds several lists of objects.
    """
    text = text_of(stream.read())
    if has_other_bytes(text):
        number, line = next((i, line) for i, line in enumerate(text.split("\n"), 1) if has_other_bytes(line))
        note(notices, number, "bytes", f"of line {number}, {bad_byte(line)}")
        text = shown(text, "\\\\")
    rows = _rows(text, where, notices)
    if replace_surrogates:
        rows = ((number, paired_row(row, f"{where} row {number}", number, notices)) for number, row in rows)
    try:
        yield from blocks_of(rows, block_rows)
    except json.JSONDecodeError as error:
        raise FileError(f"{where}:{error.lineno}: not JSON: {error.msg.removesuffix(' at')} at column {error.colno}.") from None
    except RecursionError:
        raise FileError(f"{where}: not JSON that can be read: it is nested too deeply.") from None


def _rows(text: str, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    at = skip_space(text, 0)
    if at == len(text):
        return
    if text[at] == "[":
        yield from _list_rows(text, at, where, notices)
        return
    if text[at] != "{":
        raise FileError(f"{where}: expected a list of objects, or one object a line; it starts with {text[at : at + 20]!r}.")
    number = 0
    while at < len(text):
        number += 1
        row, end = _row(text, at, f"{where} object {number}")
        at = skip_space(text, end)
        if number == 1 and at == len(text):
            yield from _inside(row, where, notices)
            return
        yield number, row


def _list_rows(text: str, at: int, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    number = 0
    try:
        for number, (start, end, row) in enumerate(elements(text, at), 1):
            if row is not None:
                yield number, row
            else:
                note(notices, number, "row", f"expected an object, got {text[start:end][:40]!r}")
    except KeyError as error:
        raise FileError(f"{where} row {number + 1}: {twice(error)}") from None


def _row(text: str, at: int, where: str) -> tuple[Members, int]:
    try:
        return members(text, at)
    except KeyError as error:
        raise FileError(f"{where}: {twice(error)}") from None


def _inside(row: Members, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    """The rows of a document that is one object: a table, the one list of objects in it, or the object itself."""
    if row.keys() >= {"columns", "data"} and row["columns"].startswith("[") and row["data"].startswith("["):
        yield from _table_rows(row, where, notices)
        return
    lists = [key for key, raw in row.items() if _holds_rows(raw)]
    if len(lists) > 1:
        raise FileError(
            f"{where}: an object with several lists of objects ({', '.join(map(repr, lists))}). Write the one to read as a file of its own."
        )
    if lists:
        note(notices, 1, "inside", f"the rows are those of its list {lists[0]!r}")
        yield from _list_rows(row[lists[0]], 0, f"{where} {lists[0]!r}", notices)
    elif len(row) > 1 and all(raw.startswith("{") for raw in row.values()):
        raise FileError(
            f"{where}: an object of columns, as pandas writes by default. Write rows: DataFrame.to_json(FILE, orient='records')."
        )
    else:
        yield 1, row


def _holds_rows(raw: str) -> bool:
    """Whether a value is a list of objects that are no chat messages."""
    first = next(items(raw), None) if raw.startswith("[") else None
    if first is None or raw[first[0]] != "{":
        return False
    keys = json.loads(raw[slice(*first)], parse_int=str).keys()  # as text, a number may have more digits than Python reads
    return not ("role" in keys and keys & {"content", "tool_calls"})


def _table_rows(row: Members, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    names = [name if isinstance(name, str) else json.dumps(name) for name in json.loads(row["columns"], parse_int=str)]
    check_names(names, where)
    data = row["data"]
    for number, (start, _) in enumerate(items(data), 1):
        cells = [data[slice(*cell)] for cell in items(data, start)] if data[start] == "[" else []
        if len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
        else:
            note(notices, number, "row", f"{len(cells)} values for {len(names)} columns")
