"""JSON: of every row the text of each value as it is written, so that no number loses a digit.

A line that is no JSON object is left out and named. A document is one list of objects, or an object that holds exactly one, or a table
of columns and data (as W&B and pandas write it), or objects one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import BinaryIO, NoReturn

from flatspot.core.errors import FileError
from flatspot.readers.blocks import BLOCK_CHARACTERS, BLOCK_ROWS, ROW_LIMIT, TOO_LARGE, Block, Notice, check_names
from flatspot.readers.encodings import has_other_bytes, shown, text_of

# numbers are checked, not made: a number of 5,000 digits is text here
_scan = json.JSONDecoder(parse_int=str, parse_float=str).scan_once
_space = re.compile(r"[ \t\n\r]*").match
_colon = re.compile(r"[ \t\n\r]*:[ \t\n\r]*").match
_open = re.compile(r'\{[ \t\n\r]*(?:"|(\}))').match
_more = re.compile(r'[ \t\n\r]*(?:,[ \t\n\r]*"|(\}))').match
_item = re.compile(r"[ \t\n\r]*(?:(,)[ \t\n\r]*|\])").match
_SPACES = " \t\n\r"
_PAIRS = re.compile(  # escapes, of which a lone surrogate is the second group
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_LONE = re.compile("[\ud800-\udfff]")
_MAX_CELLS = 2_000_000  # of one block, so that many keys of few rows stay small

Members = dict[str, str]


def json_lines_blocks(stream: BinaryIO, where: str, notices: list[Notice], *, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """The rows of a file of JSON lines in blocks; lines that are no JSON object go to `notices`.

    stream  UTF-8, without a byte order mark

    Raises `FileError` where a key is there twice in a row, or a row is too large.
    """
    return _blocks(_line_rows(stream, where, notices), block_rows)


def json_blocks(stream: BinaryIO, where: str, notices: list[Notice], *, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """The rows of a JSON document in blocks. Raises `FileError` where it is damaged, or holds no rows or several lists of them."""
    text = text_of(stream.read())
    if has_other_bytes(text):
        number = next(i for i, line in enumerate(text.split("\n"), 1) if has_other_bytes(line))
        notices.append(Notice(number, "bytes", "not UTF-8"))
        text = shown(text, "\\\\")
    try:
        yield from _blocks(_document_rows(text, where, notices), block_rows)
    except json.JSONDecodeError as error:
        raise FileError(f"{where}:{error.lineno}: not JSON: {error.msg} at column {error.colno}.") from None
    except RecursionError:
        raise FileError(f"{where}: not JSON that can be read: it is nested too deeply.") from None


def members(text: str, at: int = 0) -> tuple[Members, int]:
    """The text of each value of the object that starts at `at`, and where the object ends.

    Raises `json.JSONDecodeError` where it is none, `KeyError` where a key is there twice.

    >>> members('{"id": 1.10, "text": "a"}')
    ({'id': '1.10', 'text': '"a"'}, 25)
    """
    found: Members = {}
    step = _open(text, at)
    if step is None:
        _refuse("Expecting property name enclosed in double quotes" if text[at : at + 1] == "{" else "Expecting an object", text, at + 1)
    while not step.group(1):
        key, at = scanstring(text, step.end(), True)
        step = _colon(text, at)
        if step is None:
            _refuse("Expecting ':' delimiter", text, at)
        at = step.end()
        end = _value_end(text, at)
        if key in found:
            raise KeyError(key)
        found[key] = text[at:end]
        step = _more(text, end)
        if step is None:
            _refuse("Expecting ',' delimiter", text, end)
    return found, step.end()


def items(text: str, at: int = 0) -> Iterator[tuple[int, int]]:
    """Where each value of the list that starts at `at` starts and ends."""
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return
    while True:
        end = _value_end(text, at)
        yield at, end
        step = _item(text, end)
        if step is None:
            _refuse("Expecting ',' delimiter", text, end)
        if not step.group(1):
            return
        at = step.end()


def _value_end(text: str, at: int) -> int:
    try:
        return int(_scan(text, at)[1])
    except StopIteration as stop:
        _refuse("Expecting value", text, int(stop.value))


def _skip(text: str, at: int) -> int:
    found = _space(text, at)
    return found.end() if found else at


def _refuse(why: str, text: str, at: int) -> NoReturn:
    raise json.JSONDecodeError(why, text, min(at, len(text)))


def _line_rows(stream: BinaryIO, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    # bounded, for a file may well be one line
    for number, line in enumerate(iter(lambda: stream.readline(ROW_LIMIT + 1), b""), 1):
        if len(line) > ROW_LIMIT:
            raise FileError(f"{where}:{number}: {TOO_LARGE}")
        text = text_of(line).strip(_SPACES)
        if not text:
            continue
        if has_other_bytes(text):
            notices.append(Notice(number, "bytes", "not UTF-8"))
            text = shown(text, "\\\\")
        try:
            if not text.startswith("{"):
                value = json.loads(text)
                notices.append(Notice(number, "row", f"expected an object, got {text[:40]!r} (a {type(value).__name__})"))
                continue
            found, end = members(text)
            if end != len(text):
                _refuse("Extra data", text, end)
        except json.JSONDecodeError as error:
            notices.append(Notice(number, "row", f"not JSON: {error.msg} at column {error.colno}"))
        except (RecursionError, ValueError):
            notices.append(Notice(number, "row", "not JSON that can be read: it is nested too deeply"))
        except KeyError as error:
            raise FileError(f"{where}:{number}: {_twice(error)}") from None
        else:
            yield number, _paired(found, text, number, notices)


def _twice(error: KeyError) -> str:
    return f"the key {error.args[0]!r} is there twice; rename or drop one of them."


def _paired(found: Members, text: str, number: int, notices: list[Notice]) -> Members:
    """The members with U+FFFD for each unpaired surrogate, which UTF-8 has no bytes for."""
    if "\\ud" not in text and "\\uD" not in text:
        return found
    paired = {_LONE.sub("\ufffd", key): _PAIRS.sub(lambda m: "\\ufffd" if m.group(1) else m.group(), raw) for key, raw in found.items()}
    if paired != found:
        notices.append(Notice(number, "surrogates", "unpaired surrogates"))
    return paired


def _blocks(rows: Iterator[tuple[int, Members]], block_rows: int) -> Iterator[Block]:
    held: list[Members] = []
    lines: list[int] = []
    names: dict[str, None] = {}
    size = 0
    for line, row in rows:
        held.append(row)
        lines.append(line)
        size += sum(map(len, row.values()))
        if row.keys() - names.keys():
            names.update(dict.fromkeys(row))
        if len(held) >= block_rows or size >= BLOCK_CHARACTERS or len(held) * len(names) >= _MAX_CELLS:
            yield _block(held, lines, names, size)
            held, lines, names, size = [], [], {}, 0
    if held:
        yield _block(held, lines, names, size)


def _block(rows: list[Members], lines: list[int], names: dict[str, None], size: int) -> Block:
    return Block(lines, {name or "(no name)": [row.get(name) for row in rows] for name in names}, size)


def _document_rows(text: str, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    at = _skip(text, 0)
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
        at = _skip(text, end)
        if number == 1 and at == len(text):
            yield from _inside(row, where, notices)
            return
        yield number, _paired(row, text, number, notices)


def _list_rows(text: str, at: int, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    for number, (start, end) in enumerate(items(text, at), 1):
        if text[start] == "{":
            yield number, _paired(_row(text, start, f"{where} row {number}")[0], text[start:end], number, notices)
        else:
            notices.append(Notice(number, "row", f"expected an object, got {text[start:end][:40]!r}"))


def _row(text: str, at: int, where: str) -> tuple[Members, int]:
    try:
        return members(text, at)
    except KeyError as error:
        raise FileError(f"{where}: {_twice(error)}") from None


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
        notices.append(Notice(1, "inside", f"the rows are those of its list {lists[0]!r}"))
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
    return not json.loads(raw[slice(*first)]).keys() >= {"role", "content"}


def _table_rows(row: Members, where: str, notices: list[Notice]) -> Iterator[tuple[int, Members]]:
    names = [name if isinstance(name, str) else json.dumps(name) for name in json.loads(row["columns"])]
    check_names(names, where)
    data = row["data"]
    for number, (start, end) in enumerate(items(data), 1):
        cells = [data[slice(*cell)] for cell in items(data, start)] if data[start] == "[" else []
        if len(cells) == len(names):
            yield number, _paired(dict(zip(names, cells, strict=True)), data[start:end], number, notices)
        else:
            notices.append(Notice(number, "row", f"{len(cells)} cells for {len(names)} columns"))
