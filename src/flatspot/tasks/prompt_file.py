"""Read prompts from a JSONL, JSON, CSV, TSV or Parquet file, or JSONL from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from flatspot.core.errors import FileError, PromptFileError
from flatspot.core.extensions import one_of
from flatspot.core.records import Prompt
from flatspot.readers.blocks import BLOCK_ROWS, Notice, rows_of
from flatspot.readers.encodings import as_utf8, open_utf8
from flatspot.readers.files import CSV, ENDINGS, PACKED, PARQUET, place, stream_blocks
from flatspot.readers.parquet_rows import parquet_rows
from flatspot.tasks.prompt_template import PromptTemplate
from flatspot.tasks.rows import Row, check_limit, prompts_from_rows, raise_problems
from flatspot.tasks.sources import BUILT_IN


def read_prompts(
    path: str | Path, *, prompt_col: str = "prompt", id_col: str = "id", limit: int | None = None, template: PromptTemplate | None = None
) -> list[Prompt]:
    """The prompts of a file, in its order.

    path        ends in .jsonl, .ndjson, .json, .csv, .tsv or .parquet; `-` reads JSONL from standard input
    prompt_col  the column with the prompt: text, or chat messages, a list of {role, content} (in CSV text only)
    id_col      the column with the id; where it is absent or empty, the prompt's content hash names it
    limit       read the first so many rows only
    template    makes the text of a prompt of its columns

    Every other column goes to `Prompt.columns` unchanged. In CSV every cell is text as written, and an empty one is None; JSON and Parquet
    have numbers. An id is the text that stands in the file, so 1.10 and 1.1 are two.
    Raises `PromptFileError` naming the rows at fault, by line, or by row for a JSON document and Parquet.
    """
    check_limit(limit)
    source = str(path)
    try:
        if source == "-":
            source = "standard input"
            rows = _text_rows(as_utf8(sys.stdin.buffer, source), ".jsonl", source, id_col, limit)
        else:
            rows = _file_rows(_checked(Path(path).expanduser()), source, id_col, limit)
        return prompts_from_rows(rows, source=source, prompt_col=prompt_col, id_col=id_col, template=template)
    except FileError as error:
        raise PromptFileError(str(error)) from None


def _checked(file: Path) -> Path:
    if file.is_dir():
        raise PromptFileError(f"{file} is a folder; expected a file ending in {', '.join(ENDINGS)}")
    if not file.exists():
        raise PromptFileError(
            f"no such file: {file} (looked in {Path.cwd()}). Give a prompt file ({', '.join(ENDINGS)}), - for standard input, "
            f"or a prompt source such as reasoning-gym:basic_arithmetic (there are {one_of('tasks', BUILT_IN)})"
        )
    if file.suffix.lower() not in ENDINGS:
        packed = "; unpack it first" if file.suffix.lower() in PACKED else ""
        raise PromptFileError(f"{file}: cannot tell its format from its name; expected it to end in {', '.join(ENDINGS)}{packed}")
    return file


def _file_rows(file: Path, source: str, id_col: str, limit: int | None) -> list[Row]:
    ending = file.suffix.lower()
    if ending == PARQUET:
        return [(place(source, ending, number), row) for number, row in enumerate(parquet_rows(file, limit), 1)]
    with open_utf8(file) as stream:
        return _text_rows(stream, ending, source, id_col, limit)


def _text_rows(stream: BinaryIO, ending: str, source: str, id_col: str, limit: int | None) -> list[Row]:
    """The rows of CSV or JSON as values. A prompt file is whole: what a log is read without is an error here."""
    notices: list[Notice] = []
    blocks = stream_blocks(stream, ending, source, notices, block_rows=min(limit or BLOCK_ROWS, BLOCK_ROWS), replace_surrogates=False)
    found = list(islice(rows_of(blocks), limit))
    end = found[-1][0] if limit is not None and len(found) == limit else None
    bad = [notice for notice in notices if notice.kind != "inside" and (end is None or notice.line < end)]
    problems = [f"{place(source, ending, notice.line)}: {notice.why}" for notice in sorted(bad, key=lambda notice: notice.line)]
    rows: list[Row] = []
    for line, cells in found:
        try:
            rows.append((place(source, ending, line), dict(_csv_values(cells) if ending in CSV else _json_values(cells, id_col))))
        except (ValueError, RecursionError) as error:
            problems.append(f"{place(source, ending, line)}: not JSON that can be read: {str(error).split(';')[0]}")
    raise_problems(source, problems, sum(notice.times - 1 for notice in bad))
    return rows


def _csv_values(cells: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    return ((name, cell or None) for name, cell in cells.items())


def _json_values(cells: Mapping[str, str], id_col: str) -> Iterator[tuple[str, object]]:
    for name, raw in cells.items():
        yield name, raw if name == id_col and raw[0] in "-0123456789" else json.loads(raw)
