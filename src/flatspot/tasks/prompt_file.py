"""Read prompts from a JSONL, JSON, CSV or Parquet file, or JSONL from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Prompt
from flatspot.tasks.rows import SHOWN, Row, prompts_from_rows, raise_problems

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


def read_prompts(path: str | Path, *, prompt_col: str = "prompt", id_col: str = "id", limit: int | None = None) -> list[Prompt]:
    """The prompts of a file, in its order.

    path        ends in .jsonl, .ndjson, .json (one list of objects), .csv or .parquet; `-` reads JSONL from standard input
    prompt_col  the column with the prompt: text, or chat messages, a list of {role, content} (in CSV text only)
    id_col      the column with the id; where it is absent or empty, the prompt's content hash names it
    limit       read the first so many rows only

    Every other column goes to `Prompt.columns` unchanged. In CSV, prompt, id and reference are text as written and the other
    columns are numbers where all their values are; an empty cell is None.
    Raises `PromptFileError` naming the rows at fault, by line for JSONL and by row, without the header, for the others.
    """
    if limit is not None and limit < 1:
        raise PromptFileError(f"limit must be at least 1, got {limit}")
    source = str(path)
    if source == "-":
        rows = _jsonl_rows(sys.stdin.buffer, "standard input", limit)
        return prompts_from_rows(rows, source="standard input", prompt_col=prompt_col, id_col=id_col)
    file = Path(path).expanduser()
    _check_file(file)
    ending = file.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        with file.open("rb") as stream:
            return prompts_from_rows(_jsonl_rows(stream, source, limit), source=source, prompt_col=prompt_col, id_col=id_col)
    read = {".json": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}[ending]
    found = ((f"{source} row {number}", row) for number, row in enumerate(read(file, prompt_col, id_col, limit), 1))
    return prompts_from_rows(islice(found, limit), source=source, prompt_col=prompt_col, id_col=id_col)


def _check_file(file: Path) -> None:
    if file.is_dir():
        raise PromptFileError(f"{file} is a folder; expected a file ending in {', '.join(ENDINGS)}")
    if not file.exists():
        raise PromptFileError(
            f"no such file: {file} (looked in {Path.cwd()}). Give a prompt file ({', '.join(ENDINGS)}), - for standard input, "
            f"or generated prompts such as reasoning-gym:basic_arithmetic"
        )
    if file.suffix.lower() not in ENDINGS:
        packed = "; unpack it first" if file.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip") else ""
        raise PromptFileError(f"{file}: cannot tell its format from its name; expected it to end in {', '.join(ENDINGS)}{packed}")


def _jsonl_rows(stream: Iterable[bytes], source: str, limit: int | None) -> Iterator[Row]:
    problems: list[str] = []
    n_rows = 0
    for number, line in enumerate(stream, 1):
        # a byte order mark, as some editors put before the first line, is not part of the text
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        n_rows += 1
        where = f"{source}:{number}"
        try:
            row = json.loads(line.decode().strip(), object_pairs_hook=_once)
        except UnicodeDecodeError as error:
            problems.append(f"{where}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
        except json.JSONDecodeError as error:
            problems.append(f"{where}: not JSON: {error.msg} at column {error.colno}")
        except RecursionError:
            problems.append(f"{where}: not JSON that can be read: it is nested too deeply")
        except _Twice as error:
            problems.append(f"{where}: {error}")
        else:
            if isinstance(row, dict):
                yield where, row
            else:
                problems.append(f"{where}: expected an object with a prompt, got {str(row)[:40]!r} (a {type(row).__name__})")
        if n_rows == limit or len(problems) > 20 * SHOWN:  # the wrong kind of file altogether: no need to read on
            break
    raise_problems(source, problems)


def _json_rows(file: Path, prompt_col: str, id_col: str, limit: int | None) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(file.read_bytes().decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{file}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line must end in .jsonl" if error.msg == "Extra data" else ""
        raise PromptFileError(f"{file}:{error.lineno}: not JSON: {error.msg} at column {error.colno}{hint}") from None
    except RecursionError:
        raise PromptFileError(f"{file}: not JSON that can be read: it is nested too deeply") from None
    except _Twice as error:
        raise PromptFileError(f"{file}: {error}") from None
    if not isinstance(found, list):
        raise PromptFileError(f"{file}: expected one list of objects, got a {type(found).__name__}")
    raise_problems(
        str(file),
        [
            f"{file} row {i}: expected an object with a prompt, got a {type(r).__name__}"
            for i, r in enumerate(found, 1)
            if not isinstance(r, dict)
        ],
    )
    yield from found


def _csv_rows(file: Path, prompt_col: str, id_col: str, limit: int | None) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import csv

    as_text = dict.fromkeys((prompt_col, id_col, "reference", "references"), pa.string())
    convert = csv.ConvertOptions(column_types=as_text, null_values=[""], strings_can_be_null=True)
    try:
        table = csv.read_csv(file, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=convert)
    except pa.ArrowInvalid as error:
        raise PromptFileError(f"{file}: cannot be read as CSV: {_first_line(error)}") from None
    _check_columns(file, table.column_names)
    yield from table.slice(0, limit).to_pylist()


def _parquet_rows(file: Path, prompt_col: str, id_col: str, limit: int | None) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            _check_columns(file, parquet.schema_arrow.names)
            for batch in parquet.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise PromptFileError(f"{file}: cannot be read as Parquet: {_first_line(error)}") from None


class _Twice(Exception):
    """A key that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of two equal keys Python would drop the first without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice(f"the key {_repeated([key for key, _ in pairs])!r} is there twice; rename or drop one")
    return found


def _check_columns(file: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise PromptFileError(f"{file}: the column {_repeated(names)!r} is there twice; rename or drop one")


def _repeated(names: Sequence[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300]
