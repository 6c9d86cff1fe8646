"""JSON lines: of every row the text of each value as it is written, so that no number loses a digit.

A line that is no JSON object is left out and named.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from flatspot.core.errors import FileError
from flatspot.readers.blocks import BLOCK_CHARACTERS, BLOCK_ROWS, MARK, ROW_LIMIT, TOO_LARGE, Block, Notice, note
from flatspot.readers.encodings import bad_byte, convert, has_other_bytes, shown, text_of
from flatspot.readers.json_text import Members, line_pattern, only_members, paired

_FIRST_CHUNK, _CHUNK = 1 << 16, 1 << 20  # bytes
_SPACES = " \t\n\r"
_MOST_KEYS = 64  # of a pattern: it takes longer to compile than to read such rows one by one
_MAX_CELLS = 2_000_000  # of one block, so that many keys of few rows stay small


def json_lines_blocks(
    stream: BinaryIO, where: str, notices: list[Notice], *, block_rows: int = BLOCK_ROWS, replace_surrogates: bool = True
) -> Iterator[Block]:
    """The rows of a file of JSON lines in blocks; lines that are no JSON object go to `notices`.

    stream  UTF-8, after its byte order mark
    block_rows, replace_surrogates  as for `files.stream_blocks`

    Raises `FileError` where a key is there twice in a row, or a row is too large.
    """
    pattern: re.Pattern[str] | None = None  # of the rows of the last chunk, where they are all alike
    keys: tuple[str, ...] = ()
    number = 1
    chunk_size = _FIRST_CHUNK if block_rows >= BLOCK_ROWS else 1
    while chunk := stream.read(chunk_size):
        chunk_size = _CHUNK if chunk_size > 1 else 1
        chunk += _line(stream, f"{where}:{number}")
        if number == 1 and chunk_size > 1:
            keys, pattern = _first_pattern(chunk)
        n_lines = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
        block = _alike(chunk, pattern, keys, number, n_lines) if pattern else None
        if block is not None:
            yield block
        else:
            last: tuple[str, ...] = ()
            for block in blocks_of(_rows(chunk, number, where, notices, replace_surrogates), block_rows):
                last = tuple(block.columns)
                flat = all((cells[-1] or "[")[0] not in "[{" for cells in block.columns.values())
                yield block
            if last and last != keys:
                keys, pattern = last, line_pattern(last) if flat and len(last) <= _MOST_KEYS else None
        number += n_lines


def blocks_of(rows: Iterable[tuple[int, Members]], block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Rows with their lines, in blocks."""
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


def paired_row(pairs: Members, where: str, number: int, notices: list[Notice]) -> Members:
    """The members with U+FFFD for each unpaired surrogate, and a notice where there is one."""
    texts = (*pairs.values(), *(key for key in pairs if not key.isascii()))
    if not any("\\ud" in text or "\\uD" in text or has_other_bytes(text) for text in texts):
        return pairs
    if (fixed := paired(pairs)) != pairs:
        note(notices, number, "surrogates", "unpaired surrogates")
    if len(fixed) < len(pairs):
        raise FileError(f"{where}: two keys differ in unpaired surrogates alone; rename or drop one of them.")
    return fixed


def twice(error: KeyError) -> str:
    """What is wrong with an object that has a key twice."""
    return f"the key {error.args[0]!r} is there twice; rename or drop one of them."


def _line(stream: BinaryIO, where: str) -> bytes:
    """The rest of a line: bounded, for a file may well be one line."""
    line = stream.readline(ROW_LIMIT + 1)
    if len(line) > ROW_LIMIT:
        raise FileError(f"{where}: {TOO_LARGE}")
    return line


def _first_pattern(chunk: bytes) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """The keys and the pattern of a file's first row, where it is one that can have a pattern: other files of a log have the same."""
    try:
        row = only_members(chunk[: chunk.find(b"\n") + 1].decode().strip(_SPACES))
    except (ValueError, RecursionError, KeyError):  # of bytes, too; what is wrong is said where the rows are read one by one
        return (), None
    keys = tuple(row)
    flat = all(raw[0] not in "[{" for raw in row.values())
    return (keys, line_pattern(keys)) if keys and flat and len(keys) <= _MOST_KEYS else ((), None)


def _alike(chunk: bytes, pattern: re.Pattern[str], keys: tuple[str, ...], number: int, n_lines: int) -> Block | None:
    """The rows of lines that all match a pattern, without a loop over them; None where some do not."""
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        return None
    if "\\ud" in text or "\\uD" in text:
        return None
    with _no_collector():  # tens of thousands of tuples, none of which is in a cycle: to look through them takes a third of the time
        rows = pattern.findall(text)
        if len(rows) != n_lines:
            return None
        cells = zip(*rows, strict=True) if len(keys) > 1 else [rows]
        columns: dict[str, list[str | None]] = {key: list(column) for key, column in zip(keys, cells, strict=True)}
        del rows
    return Block(range(number, number + n_lines), columns, len(text))


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without Python's search for cycles, where it is on."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _rows(chunk: bytes, first: int, where: str, notices: list[Notice], replace_surrogates: bool) -> Iterator[tuple[int, Members]]:
    for number, line in enumerate(chunk.split(b"\n"), first):
        whole = text_of(line)
        text = whole.strip(_SPACES).removeprefix(MARK)
        if not text:
            continue
        if len(line) > ROW_LIMIT:
            raise FileError(f"{where}:{number}: {TOO_LARGE}")
        other = text if has_other_bytes(text) else ""
        if other:
            note(notices, number, "bytes", bad_byte(whole))
            text = shown(text, "\\\\")
        try:
            if not text.startswith("{"):
                value = json.loads(text)
                note(notices, number, "row", f"expected an object, got {str(value)[:40]!r} (a {type(value).__name__})")
                continue
            pairs = only_members(text)
            if other and any(map(has_other_bytes, only_members(other))):
                raise convert(f"{where}:{number}", whole)
        except json.JSONDecodeError as error:
            note(notices, number, "row", f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}")
        except RecursionError:
            note(notices, number, "row", "not JSON that can be read: it is nested too deeply")
        except ValueError:  # of Python's limit of digits, which holds for what is no object
            note(notices, number, "row", f"expected an object, got {text[:40]!r}")
        except KeyError as error:
            raise FileError(f"{where}:{number}: {twice(error)}") from None
        else:
            yield number, paired_row(pairs, f"{where}:{number}", number, notices) if replace_surrogates else pairs


def _block(rows: list[Members], lines: list[int], names: dict[str, None], size: int) -> Block:
    if 2 * sum(map(len, rows)) > len(rows) * len(names):
        return Block(lines, {name: [row.get(name) for row in rows] for name in names}, size)
    columns: dict[str, list[str | None]] = {name: [None] * len(rows) for name in names}  # of which most cells stay empty
    for i, row in enumerate(rows):
        for name, raw in row.items():
            columns[name][i] = raw
    return Block(lines, columns, size)
