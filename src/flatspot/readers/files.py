"""One file of CSV or JSON in blocks, whatever of the formats it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flatspot.core.errors import FileError
from flatspot.readers.blocks import BLOCK_ROWS, ROW_LIMIT, Block, Notice
from flatspot.readers.csv_rows import csv_blocks
from flatspot.readers.encodings import open_utf8, text_of
from flatspot.readers.json_document import json_blocks
from flatspot.readers.json_rows import json_lines_blocks

CSV = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
JSON = ".json"
PARQUET = ".parquet"
ENDINGS = (*JSON_LINES, JSON, *CSV, PARQUET)
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def file_blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    """The rows of a CSV or JSON file in blocks. Raises `FileError` where it cannot be read."""
    try:
        with open_utf8(path) as stream:
            yield from stream_blocks(stream, path.suffix.lower(), str(path), notices)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None


def stream_blocks(
    stream: BinaryIO, ending: str, where: str, notices: list[Notice], *, block_rows: int = BLOCK_ROWS, replace_surrogates: bool = True
) -> Iterator[Block]:
    """The rows of a stream in the format of `ending` in blocks.

    stream              UTF-8, after its byte order mark; it can seek
    block_rows          about how many rows a block of JSON has; a small number reads no further than it must
    replace_surrogates  whether unpaired surrogates in JSON become U+FFFD, which UTF-8 can hold
    """
    if ending in CSV:
        return csv_blocks(stream, where, notices, delimiter="\t" if ending == ".tsv" else None)
    read = json_blocks if ending == JSON and not _is_lines(stream) else json_lines_blocks
    return read(stream, where, notices, block_rows=block_rows, replace_surrogates=replace_surrogates)


def place(where: str, ending: str, line: int) -> str:
    """A row in a message: by its line, or by its number where a file has no lines of its own.

    >>> place("a.jsonl", ".jsonl", 3), place("a.json", ".json", 3)
    ('a.jsonl:3', 'a.json row 3')
    """
    return f"{where} row {line}" if unit_of(ending) == "row" else f"{where}:{line}"


def unit_of(ending: str) -> str:
    """What the numbers of a file's rows count: lines, or rows where it has no lines of its own."""
    return "row" if ending in (JSON, PARQUET) else "line"


def _is_lines(stream: BinaryIO) -> bool:
    """Whether a JSON file is one of JSON lines: its first two lines are an object each. The stream stays where it is."""
    start = stream.tell()
    first, second = (text_of(stream.readline(ROW_LIMIT)).strip() for _ in range(2))
    stream.seek(start)
    return _is_object(second) and _is_object(first)  # the whole of a document on one line need not be read to see that it has no second


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line, parse_int=str), dict)
    except (ValueError, RecursionError):
        return False
