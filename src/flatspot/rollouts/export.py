"""Rows of a run folder as a file another tool reads: JSONL, CSV or Parquet, by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.core.plain import plain
from flatspot.core.schema import PROMPTS
from flatspot.rollouts.store import storable, write_table, write_whole
from flatspot.rollouts.tables import read_batches, read_table

if TYPE_CHECKING:
    import pyarrow as pa

# what of a verdict goes along with its prompt
_VERDICT_COLUMNS = ("verdict", "error_probability", "mean", "std", "reach", "p_mixed")

_ROWS = 65536  # rows read at a time


def export_prompts(run: Path, path: Path, verdicts: Sequence[str]) -> int:
    """Write the prompts with one of `verdicts` (none: all), their own columns first; returns how many."""
    prompts = _table(run, "prompts.parquet", [column.name for column in PROMPTS])
    found = _table(run, "verdicts.parquet", ["prompt_id", *_VERDICT_COLUMNS])
    return _write(_prompt_rows(prompts, found, set(verdicts)), path)


def export_completions(run: Path, path: Path, verdicts: Sequence[str]) -> int:
    """Write every completion of the prompts with one of `verdicts` (none: all), with its reward; returns how many."""
    found = _table(run, "verdicts.parquet", ["prompt_id", "verdict"])
    names = dict(zip(found["prompt_id"].to_pylist(), found["verdict"].to_pylist(), strict=True))
    return _write(_completion_rows(run, names, set(verdicts)), path)


def _completion_rows(run: Path, names: Mapping[str, str], verdicts: set[str]) -> Iterator[dict[str, Any]]:
    for part in sorted((run / "rollouts").glob("part-*.parquet")):
        for batch in read_batches(part, _ROWS):
            for row in batch.to_pylist():
                if not verdicts or names.get(row["prompt_id"]) in verdicts:
                    yield row | {"rewards": dict(row["rewards"] or ())}


def _prompt_rows(prompts: pa.Table, found: pa.Table, verdicts: set[str]) -> Iterator[dict[str, Any]]:
    judged = {row["prompt_id"]: row for row in found.select(["prompt_id", *_VERDICT_COLUMNS]).to_pylist()}
    for row in prompts.to_pylist():
        verdict = judged[row["prompt_id"]]
        if verdicts and verdict["verdict"] not in verdicts:
            continue
        prompt = json.loads(row["prompt"]) if row["is_chat"] else row["prompt"]
        own = {"id": row["prompt_id"], "prompt": prompt} | json.loads(row["columns"])
        yield own | {f"flatspot_{name}": verdict[name] for name in _VERDICT_COLUMNS}


def _table(run: Path, name: str, columns: Sequence[str] | None) -> pa.Table:
    if not (run / name).exists():
        raise RunFolderError(
            f"{run} has no {name}: it is no run folder, or its run has not been judged yet. Run flatspot diagnose … --out {run}"
        )
    return read_table(run / name, columns)


def _write(rows: Iterator[dict[str, Any]], path: Path) -> int:
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        n = 0
        with write_whole(path) as file:
            for n, row in enumerate(rows, 1):  # noqa: B007 - the last n is the count
                # a lone surrogate's escape in Python is its escape in JSON
                file.write((json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace"))
        return n
    if ending not in (".csv", ".parquet"):
        raise SettingsError(f"cannot write {path.name}: end it in .jsonl, .csv or .parquet")
    found = list(rows)
    if ending == ".parquet":
        write_table(_arrow(found), path)
        return len(found)
    import io

    with write_whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in found for name in row)))
        writer.writeheader()
        writer.writerows({name: _cell(value, ending) for name, value in row.items()} for row in found)
        text.flush()
        text.detach()
    return len(found)


def _arrow(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table; a column whose values are of several types becomes JSON text."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array([_cell(value, ".parquet") for value in values])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            texts = (None if value is None else json.dumps(plain(value), ensure_ascii=False) for value in values)
            columns[name] = pa.array([text and storable(text) for text in texts], pa.string())
    return pa.table(columns)


def _cell(value: Any, ending: str) -> Any:
    """A value as a flat cell: what is nested becomes JSON; Parquet keeps chat messages."""
    nested = isinstance(value, dict) or (isinstance(value, list) and ending == ".csv")
    flat = json.dumps(plain(value), ensure_ascii=False) if nested else value
    return storable(flat) if isinstance(flat, str) else flat
