"""CSV, JSONL and Parquet logs, long (a row per completion) or wide (a row per prompt, its rewards in a list).

Everything is one SQL statement per table, so a log is never held in memory. A row whose reward is not a finite number, or that has
no prompt, is kept with its `error`.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import ImportFormatError, RunFolderError
from flatspot.core.records import LARGEST_REWARD
from flatspot.core.schema import PROMPTS, ROLLOUTS
from flatspot.importers.columns import ColumnMap, map_columns
from flatspot.importers.files import named, open_guessed, what_was_wrong

if TYPE_CHECKING:
    import duckdb

_NO_PROMPT = "(no prompt)"


@dataclass(frozen=True)
class Imported:
    """What an import found: the files read, the columns taken, and what a reader must know."""

    files: tuple[Path, ...]
    columns: Mapping[str, str]
    caveats: tuple[str, ...]


def import_generic(
    db: duckdb.DuckDBPyConnection, files: Sequence[Path], given: Mapping[str, str | None], rollouts: Path, prompts: Path
) -> Imported:
    """Write the rows of `files` to `rollouts` and their prompts to `prompts`, both Parquet, in the declared columns."""
    import duckdb

    try:
        try:
            columns, caveats = _write(db, files, given, rollouts, prompts)
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            # a value further down may be of another type than the first rows told: with all rows looked at, it is an error of its row
            columns, caveats = _write(db, files, given, rollouts, prompts, sample=-1)
    except duckdb.Error as error:
        raise ImportFormatError(f"{named(files)}: cannot be read as a log: {what_was_wrong(error)}") from error
    if "completion" not in columns.names:
        caveats.append("The log has no completions: distinct answers and truncation are unknown.")
    caveats += _told_by_rows(rollouts, db)
    return Imported(tuple(files), dict(columns.names), tuple(caveats))


def _write(
    db: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    given: Mapping[str, str | None],
    rollouts: Path,
    prompts: Path,
    sample: int = 20_000,
) -> tuple[ColumnMap, list[str]]:
    """Write both tables, the columns' types told by the first `sample` rows (-1: all); returns the columns taken, and caveats."""
    caveats: list[str] = []
    with tempfile.TemporaryDirectory(prefix="flatspot-") as scratch:
        types = open_guessed(db, files, Path(scratch), caveats, sample=sample)
        columns = _text_lists(db, map_columns(types, given, named(files)))
        db.execute(f"CREATE OR REPLACE VIEW normalised AS {_normalise(columns, source=files)}")
        _copy(db, _rollout_select(columns), rollouts)
        _copy(db, _prompt_select(rollouts), prompts)
    return columns, caveats


def _told_by_rows(rollouts: Path, db: duckdb.DuckDBPyConnection) -> list[str]:
    """What the rows say of themselves that a reader must know: several steps, several splits, survivors only."""
    row = db.execute(
        f"SELECT count(DISTINCT step), count(DISTINCT split), count(kept), count_if(kept) FROM read_parquet({_literal(rollouts)})"
    ).fetchone()
    steps, splits, with_kept, kept = row or (0, 0, 0, 0)
    found = []
    if steps > 1:
        found.append(f"The log has {steps} training steps: their rows are judged together, as if one policy had drawn them.")
    if splits > 1:
        found.append(f"The log mixes {splits} splits (such as train and eval): their rows are judged together.")
    if with_kept and kept == with_kept:
        found.append("The log holds only groups that the trainer kept: the groups it dropped were flat, so every std here is too high.")
    return found


def _text_lists(db: duckdb.DuckDBPyConnection, columns: ColumnMap) -> ColumnMap:
    """CSV writes a list of rewards as text: see it as a list if every reward that is there reads as one."""
    if columns.type_of("reward") != "VARCHAR":
        return columns
    name = _name(columns.names["reward"])
    row = db.execute(
        f"SELECT count(*), count(TRY_CAST({name} AS DOUBLE[])) FROM log WHERE {name} IS NOT NULL AND {name} LIKE '%[%'"
    ).fetchone()
    if not row or row[0] == 0 or row[0] != row[1]:
        return columns
    return ColumnMap(columns.names, {**columns.types, columns.names["reward"]: "DOUBLE[]"})


def _normalise(columns: ColumnMap, source: Sequence[Path]) -> str:
    """One row per completion, our names, raw values."""
    reward = _name(columns.names["reward"])
    picked = [f"{_prompt_text(columns)} AS prompt", f"{_prompt_id(columns)} AS prompt_id"]
    if columns.is_wide:
        picked.append(f"unnest({_list_of(columns, 'reward')}) AS raw_reward")
        picked.append(f"unnest(range(len({_list_of(columns, 'reward')})))::INT AS sample_idx")
    else:
        picked.append(f"{reward} AS raw_reward")
        picked.append(
            f"TRY_CAST({_name(columns.names['sample_idx'])} AS INT) AS sample_idx"
            if "sample_idx" in columns.names
            else "NULL::INT AS sample_idx"
        )
    picked.append(_completion(columns))
    for ours, kind in (
        ("step", "BIGINT"),
        ("truncated", "BOOLEAN"),
        ("n_tokens", "INT"),
        ("error", "VARCHAR"),
        ("split", "VARCHAR"),
        ("kept", "BOOLEAN"),
        ("fixed", "BOOLEAN"),
    ):
        listed = ours in columns.names and columns.type_of(ours).endswith("[]")
        if ours not in columns.names or (listed and not columns.is_wide):
            picked.append(f"NULL::{kind} AS {ours}")
        else:
            value = f"unnest({_name(columns.names[ours])})" if listed else _name(columns.names[ours])
            picked.append(f"{_error_text(value) if ours == 'error' else f'TRY_CAST({value} AS {kind})'} AS {ours}")
    return f"SELECT {', '.join(picked)}, {_literal(named(source))} AS source FROM log"


def _error_text(value: str) -> str:
    """An error column as trainers write it: empty, false, none and 0 mean that there was none."""
    text = f"trim(CAST({value} AS VARCHAR), ' \"')"  # a column of mixed types comes as JSON, its texts in quotes
    return f"CASE WHEN lower({text}) NOT IN ('', 'false', 'none', 'null', 'nan', '0', '{{}}', '[]') THEN {text} END"


def _list_of(columns: ColumnMap, ours: str) -> str:
    """A wide column as a list; a prompt whose list is empty or null keeps one row, without a reward."""
    name = _name(columns.names[ours])
    cast = f"TRY_CAST({name} AS DOUBLE[])" if ours == "reward" and columns.type_of("reward") == "DOUBLE[]" else name
    return f"CASE WHEN len({cast}) > 0 THEN {cast} ELSE [NULL] END"


def _completion(columns: ColumnMap) -> str:
    if "completion" not in columns.names:
        return "NULL::VARCHAR AS completion"
    name, kind = _name(columns.names["completion"]), columns.type_of("completion")
    if kind == "VARCHAR":
        return f"{name} AS completion"
    if columns.is_wide and kind == "VARCHAR[]":
        return f"unnest({name}) AS completion"
    return f"CAST(to_json({name}) AS VARCHAR) AS completion"


def _is_messages(kind: str) -> bool:
    return kind.startswith("STRUCT") and kind.endswith("[]") and "content" in kind and "role" in kind


def _prompt_text(columns: ColumnMap) -> str:
    if "prompt" not in columns.names:
        return "NULL::VARCHAR"
    name, kind = _name(columns.names["prompt"]), columns.type_of("prompt")
    return name if kind == "VARCHAR" else f"CAST(to_json({name}) AS VARCHAR)" if _is_messages(kind) else f"CAST({name} AS VARCHAR)"


def _prompt_id(columns: ColumnMap) -> str:
    """The given id, else the content hash that `core.records.prompt_id` computes."""
    if "prompt_id" in columns.names:
        given = f"CAST({_name(columns.names['prompt_id'])} AS VARCHAR)"
        return f"coalesce({given}, {_content_id(columns)})" if "prompt" in columns.names else f"coalesce({given}, {_literal(_NO_PROMPT)})"
    return _content_id(columns)


def _content_id(columns: ColumnMap) -> str:
    name, kind = _name(columns.names["prompt"]), columns.type_of("prompt")
    text = f"CAST({name} AS VARCHAR)"
    if _is_messages(kind):
        said = "coalesce(m.role, '') || chr(31) || coalesce(CAST(m.content AS VARCHAR), '')"
        text = f"array_to_string(list_transform({name}, lambda m: {said}), chr(30))"
    return f"coalesce(left(sha256({text}), 16), {_literal(_NO_PROMPT)})"


def _rollout_select(columns: ColumnMap) -> str:
    """The declared columns: a reward that is no finite number becomes null with an error that shows it."""
    raw = "raw_reward"
    kind = columns.type_of("reward").removesuffix("[]") if columns.is_wide else columns.type_of("reward")
    if kind == "JSON":  # a column of several types: text without its quotes, null as null
        raw, kind = f"({raw} ->> '$')", "VARCHAR"
    number = f"TRY_CAST({raw} AS DOUBLE)"
    if kind == "VARCHAR":
        number = f"coalesce({number}, CASE lower(trim({raw})) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END)"
    usable = f"isfinite({number}) AND abs({number}) <= {LARGEST_REWARD}"
    no_prompt = f"prompt_id = {_literal(_NO_PROMPT)}"
    derived = {
        "prompt_id": "prompt_id",
        "reward": f"CASE WHEN {usable} AND NOT ({no_prompt}) AND error IS NULL THEN {number} END",
        "rewards": "NULL::MAP(VARCHAR, DOUBLE)",
        "error": f"""CASE WHEN error IS NOT NULL THEN error WHEN {no_prompt} THEN 'the row has neither a prompt nor an id'
            WHEN {raw} IS NULL THEN 'the log has no reward here'
            WHEN {number} IS NULL THEN 'not a number: ' || left(CAST({raw} AS VARCHAR), 80)
            WHEN NOT isfinite({number}) THEN 'the reward is ' || CAST({raw} AS VARCHAR)
            WHEN NOT ({usable}) THEN 'the reward is ' || {number} || ', larger than a reward can be ({LARGEST_REWARD:g})' END""",
        "policy": "''",
        "completion_is_chat": "NULL::BOOLEAN",
    }
    return f"SELECT {', '.join(f'{derived.get(c.name, c.name)} AS {c.name}' for c in ROLLOUTS)} FROM normalised"


def _prompt_select(rollouts: Path) -> str:
    """Each prompt once, in the order of its first row."""
    derived = {
        "prompt_id": "prompt_id",
        "prompt": "coalesce(any_value(prompt), '')",
        "is_chat": "coalesce(any_value(prompt) LIKE '[{%', false)",
        "columns": "'{}'",
        "reference_reward": "NULL::DOUBLE",
    }
    picked = ", ".join(f"{derived[c.name]} AS {c.name}" for c in PROMPTS)
    numbered = f"(SELECT prompt_id, prompt, file_row_number AS row_number FROM read_parquet({_literal(rollouts)}, file_row_number = true))"
    return f"SELECT {picked} FROM {numbered} GROUP BY prompt_id ORDER BY min(row_number)"


def _copy(db: duckdb.DuckDBPyConnection, select: str, path: Path) -> None:
    import duckdb

    temporary = path.with_name(path.name + ".tmp")
    try:
        db.execute(f"COPY ({select}) TO {_literal(temporary)} (FORMAT parquet, COMPRESSION zstd)")
        temporary.replace(path)
    except duckdb.IOException as error:
        if temporary.name not in str(error):
            raise  # it is the log that cannot be read
        temporary.unlink(missing_ok=True)
        known = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)]
        why = next((text for text in known if text in str(error)), str(error).splitlines()[0])
        raise RunFolderError(f"cannot write {path}: {why}. Nothing half-written was left; mend it and run again.") from error


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
