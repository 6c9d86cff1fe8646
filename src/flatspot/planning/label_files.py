"""The plan of labels on disk: plan.parquet, and labels.jsonl for a person to fill. Answers that were written are never lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import FileError, RunFolderError
from flatspot.core.plain import plain
from flatspot.planning.labels import Label
from flatspot.readers.blocks import Notice, rows_of
from flatspot.readers.encodings import open_utf8
from flatspot.readers.json_rows import json_lines_blocks
from flatspot.rollouts.store import write_table, write_whole
from flatspot.runs.export import exported_rows

if TYPE_CHECKING:
    import pyarrow as pa

ANSWER = "answer"


def write_plan(folder: Path, labels: Sequence[Label], table: pa.Table) -> int:
    """Write labels.jsonl and plan.parquet into a run folder, each whole or not at all; returns how many answers were kept.

    table          of `core.schema.PLAN`

    labels.jsonl   a row per label: id and prompt as they were judged, the prompt's own columns (one that is called id or prompt as well as
                   NAME_original), and `answer`, null until somebody writes it

    An answer that a labels.jsonl already holds stays: with its prompt where that is asked for again, else at the end. A prompt whose own
    columns have an `answer` is there with it. Raises `RunFolderError` where the labels.jsonl that is there cannot be read.
    """
    n_answers = write_label_rows(folder / "labels.jsonl", label_rows(labels))
    write_table(table, folder / "plan.parquet")
    return n_answers


def write_label_rows(file: Path, rows: Sequence[Mapping[str, Any]], *, keep: bool = True) -> int:
    """Write labels.jsonl, whole or not at all; with `keep`, rows whose answer is there stay. Returns how many did."""
    written = [row for row in read_label_rows(file) if is_answered(row)] if keep and file.exists() else []
    first = {str(row["id"]): row for row in reversed(written)}
    ids = {row["id"] for row in rows}
    merged = [{**row, ANSWER: first[row["id"]][ANSWER]} if row["id"] in first else row for row in rows]
    merged += [row for row in written if str(row["id"]) not in ids or row is not first[str(row["id"])]]
    with write_whole(file) as out:
        for row in merged:  # a lone surrogate's escape in Python is its escape in JSON
            out.write((json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace"))
    return len(written)


def label_rows(labels: Sequence[Label]) -> list[dict[str, Any]]:
    """The rows of labels.jsonl, in order, still to be answered."""
    rows = exported_rows([(x.prompt.id, x.prompt.text, x.prompt.columns) for x in labels])
    return [{"id": row["id"], "prompt": row["prompt"], ANSWER: None} | row for row in rows]


def is_answered(row: Mapping[str, Any], column: str = ANSWER) -> bool:
    """Whether somebody has written the answer: any value but null and blank text."""
    answer = row.get(column)
    return answer is not None and (not isinstance(answer, str) or bool(answer.strip()))


def read_label_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a labels.jsonl; raises `RunFolderError` naming the line that is no row."""
    notices: list[Notice] = []
    rows = []
    advice = "Fix the line, or move the file away to plan anew."
    try:
        with open_utf8(file) as stream:
            numbered = list(rows_of(json_lines_blocks(stream, str(file), notices, replace_surrogates=False)))
    except FileError as error:
        raise RunFolderError(f"{error} {advice}") from None
    for line, cells in numbered:
        try:
            row = {name: json.loads(raw) for name, raw in cells.items()}
        except (ValueError, RecursionError) as error:
            notices.append(Notice(line, "row", f"not JSON that can be read: {str(error).split(';')[0]}"))
            continue
        if "id" not in row:
            notices.append(Notice(line, "row", "expected an object with an id"))
        rows.append(row)
    if notices:
        first = min(notices, key=lambda notice: notice.line)
        raise RunFolderError(f"{file}:{first.line} is not a row of labels ({first.why}). {advice}")
    return rows
