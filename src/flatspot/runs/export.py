"""Rows of a run folder as a file another tool reads: JSONL, CSV or Parquet, by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.answers import answers_in, names_beside
from flatspot.core.errors import SettingsError
from flatspot.core.plain import JsonObject, plain
from flatspot.core.protocols import Say
from flatspot.core.schema import ROLLOUTS
from flatspot.rollouts.store import storable, stored_prompt, write_table, write_whole
from flatspot.runs.run import Run
from flatspot.runs.trainer_rows import rows_for

if TYPE_CHECKING:
    import pyarrow as pa

# what of a verdict goes along with its prompt
_VERDICT_COLUMNS = ("verdict", "error_probability", "mean", "std", "reach", "p_mixed")

_JUDGED = ("id", "prompt")  # what was judged: no column of the file takes their place
_MOST_KEYS = 200  # of an object in Parquet, over all rows: each is a column of its own there


def _silent(_: str) -> None:
    """For a caller who asks for no notes."""


def export_prompts(run: Run, path: Path, verdicts: Sequence[str], say: Say = _silent) -> int:
    """Write the prompts with one of `verdicts` (none: all), the file's own columns first; returns how many.

    `id` and `prompt` are what was judged. A further column of the file with one of these names is kept as NAME_original; `say` hears of it.
    """
    return _write(_prompt_rows(run.prompts, run.verdicts, set(verdicts), say), path, say)


def export_for(run: Run, trainer: str, path: Path, verdicts: Sequence[str], say: Say = _silent) -> int:
    """Write the prompts with one of `verdicts` (none: all) as the data set that a trainer reads (`runs.trainer_rows`); returns how many.

    Raises `SettingsError` where the file is CSV, which holds no messages and no objects.
    """
    if path.suffix.lower() == ".csv":
        raise SettingsError(f"{path.name}: CSV holds no chat messages and no objects: end it in .parquet or .jsonl to export for {trainer}")
    judged = {row["prompt_id"]: row for row in run.verdicts.select(["prompt_id", *_VERDICT_COLUMNS]).to_pylist()}
    chosen = [(p, judged[p.id]) for p in map(stored_prompt, run.prompts.to_pylist()) if not verdicts or judged[p.id]["verdict"] in verdicts]
    return _write(iter(rows_for(trainer, chosen, say)), path, say)


def export_completions(run: Run, path: Path, verdicts: Sequence[str], say: Say = _silent) -> int:
    """Write every completion of the prompts with one of `verdicts` (none: all), with its reward and the prompt's answers; returns how many.

    The prompt's columns that hold its right answer go along (`core.answers`); one with the name of a column of ours as NAME_original.
    """
    names = dict(zip(run.ids, run.verdicts["verdict"].to_pylist(), strict=True))
    answers = {
        row["prompt_id"]: answers_in(json.loads(row["columns"]))
        for row in run.prompts.select(["prompt_id", "columns"]).to_pylist()
        if not verdicts or names.get(row["prompt_id"]) in verdicts
    }
    rows = _completion_rows(run, answers, say)
    return _write((row for row in rows if not verdicts or names.get(row["prompt_id"]) in verdicts), path, say)


def exported_rows(prompts: Sequence[tuple[str, Any, Mapping[str, Any]]], say: Say = _silent) -> list[JsonObject]:
    """Rows of (id, prompt, columns): what was judged under `id` and `prompt`, then the columns, none of which is lost."""
    beside = _beside((name for _, _, columns in prompts for name in columns), _JUDGED, say)
    return [{"id": name, "prompt": text} | {beside[key]: value for key, value in columns.items()} for name, text, columns in prompts]


def _beside(names: Iterable[str], ours: Collection[str], say: Say) -> Mapping[str, str]:
    new_names = names_beside(names, ours)
    for name, new_name in new_names.items():
        if new_name != name:
            say(f"the column {name!r} of the file is written as {new_name!r}: {name!r} is what was judged")
    return new_names


def _completion_rows(run: Run, answers: Mapping[str, Mapping[str, Any]], say: Say) -> Iterator[JsonObject]:
    beside = _beside((name for columns in answers.values() for name in columns), [column.name for column in ROLLOUTS], say)
    renamed = {name: {beside[key]: value for key, value in columns.items()} for name, columns in answers.items()}
    for batch in run.batches():
        for row in batch.to_pylist():
            yield row | {"rewards": dict(row["rewards"] or ())} | renamed.get(row["prompt_id"], {})


def _prompt_rows(prompts: pa.Table, numbers: pa.Table, verdicts: set[str], say: Say) -> Iterator[JsonObject]:
    judged = {row["prompt_id"]: row for row in numbers.select(["prompt_id", *_VERDICT_COLUMNS]).to_pylist()}
    chosen = [p for p in map(stored_prompt, prompts.to_pylist()) if not verdicts or judged[p.id]["verdict"] in verdicts]
    own = exported_rows([(prompt.id, prompt.text, prompt.columns) for prompt in chosen], say)
    for row in own:
        verdict = judged[row["id"]]
        # an export that was read again brings those of the run before
        yield row | {f"flatspot_{name}": verdict[name] for name in _VERDICT_COLUMNS}


def _write(rows: Iterator[JsonObject], path: Path, say: Say) -> int:
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
    items = list(rows)
    if ending == ".parquet":
        write_table(_arrow(items, path, say), path)
        return len(items)
    if any(isinstance(row["prompt"], list) for row in items):
        say("CSV holds chat prompts as JSON text, which is read as text again: write .jsonl or .parquet to continue from")
    _write_csv(items, path)
    return len(items)


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import io

    with write_whole(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        text.flush()
        text.detach()


def _cell(value: Any) -> Any:
    """A value as a cell of CSV: what is nested becomes JSON text."""
    flat = _json_text(value) if isinstance(value, dict | list) else value
    return storable(flat) if isinstance(flat, str) else flat


def _arrow(rows: Sequence[Mapping[str, Any]], path: Path, say: Say) -> pa.Table:
    """Rows as a table: objects and lists keep their shape; what no Arrow type holds is JSON text, and `say` hears of it."""
    import pyarrow as pa

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [_storable(row.get(name)) for row in rows]
        array = _array(values)
        if array is None and name == "prompt":
            raise SettingsError(
                f"cannot write {path.name}: some prompts are text and some are chat messages, which one Parquet column cannot hold. "
                "End it in .jsonl"
            )
        if array is None:
            say(f"the column {name!r} holds values of several types, and is written as JSON text")
            array = pa.array([None if value is None else _json_text(value) for value in values], pa.string())
        elif name != "prompt" and pa.types.is_nested(array.type) and plain(array.to_pylist()) != plain(values):
            say(f"the objects of the column {name!r} have different keys: in Parquet each has all of them, null where it had none")
        columns[name] = array
    return pa.table(columns)


def _array(values: Sequence[Any]) -> pa.Array | None:
    """The values as Arrow infers them; None where they are of several types, or of one that Parquet lacks."""
    import pyarrow as pa

    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    return array if _fits(array.type) else None


def _fits(type_: pa.DataType) -> bool:
    """Whether Parquet can hold a type: no object without a key, and none with so many that they are data, not names."""
    import pyarrow as pa

    if pa.types.is_struct(type_):
        return 0 < type_.num_fields <= _MOST_KEYS and all(_fits(field.type) for field in type_)
    return _fits(type_.value_type) if pa.types.is_list(type_) else True


def _storable(value: Any) -> Any:
    """The value with every text in it as UTF-8 can hold it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _storable(item) for name, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _json_text(value: Any) -> str:
    return storable(json.dumps(plain(value), ensure_ascii=False))
