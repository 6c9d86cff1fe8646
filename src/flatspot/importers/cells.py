"""The SQL of one cell of a log: its text, number, list or messages, whatever family its column is of.

A column is text as it was written (`VARCHAR`: CSV, and text of Parquet), JSON text (`JSON`), or one of Parquet's own types. Every
function takes an SQL expression and its type, as DuckDB names it, and returns an SQL expression.
"""

from __future__ import annotations

from pathlib import Path

from flatspot.core.sql import literal as literal
from flatspot.readers.cells import list_cells_sql
from flatspot.readers.log import name_sql, path_sql

_MESSAGE = "json_type(m, '$.role') = 'VARCHAR' AND (json_exists(m, '$.content') OR json_exists(m, '$.tool_calls'))"


def name(column: str) -> str:
    """A column's name as SQL writes it."""
    return name_sql(column)


def parquet(path: Path) -> str:
    """A Parquet file as a table, under exactly its name."""
    return f"read_parquet({path_sql(path)}, hive_partitioning = false, file_row_number = true)"


def text(cell: str, kind: str) -> str:
    """VARCHAR: text without JSON's quotes, anything else as it was written; null where there is nothing."""
    if kind == "VARCHAR":
        return cell
    if kind == "JSON":
        raw = f"CAST({cell} AS VARCHAR)"
        return f"CASE WHEN starts_with({raw}, '\"') THEN {cell} ->> '$' WHEN {raw} <> 'null' THEN {raw} END"
    return f"CAST({cell} AS VARCHAR)"


def filled(cell: str, kind: str) -> str:
    """The text of a cell, null where it is empty: an id, a prompt."""
    return f"nullif({text(cell, kind)}, '')"


def nothing(cell: str) -> str:
    """Whether a reward, as it stands in the log, is not there: null, or blank as in CSV."""
    return f"({cell} IS NULL OR trim(CAST({cell} AS VARCHAR)) = '')"


def number(cell: str, kind: str) -> str:
    """DOUBLE: a number, or true and false as 1 and 0, also written as text; null for anything else."""
    if kind not in ("VARCHAR", "JSON"):
        return f"TRY_CAST({cell} AS DOUBLE)"
    value = text(cell, kind)
    return f"coalesce(TRY_CAST({value} AS DOUBLE), CASE lower(trim({value})) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 END)"


def whole(cell: str, kind: str, to: str) -> str:
    """An integer of type `to`; null for anything else."""
    value = text(cell, kind) if kind == "JSON" else cell
    of = f"TRY_CAST({value} AS DOUBLE)"
    return f"CASE WHEN {of} = floor({of}) THEN TRY_CAST({value} AS {to}) END"  # a cast would round


def boolean(cell: str, kind: str) -> str:
    """BOOLEAN; null for anything else."""
    if kind == "BOOLEAN":
        return cell
    value = f"lower(trim({text(cell, kind)}))"
    return (
        f"CASE WHEN {value} IN ('true', 't', 'yes', '1', '1.0') THEN true WHEN {value} IN ('false', 'f', 'no', '0', '0.0') THEN false END"
    )


def reported(cell: str, kind: str) -> str:
    """VARCHAR: an error as trainers write it; empty, false, none, 0 and 0.0 mean that there was none."""
    value = f"trim({text(cell, kind)}, ' \"')"
    none = "('', 'false', 'no', 'none', 'null', 'nan', 'n/a', 'na', '<na>', '-', '{}', '[]')"
    return f"CASE WHEN lower({value}) NOT IN {none} AND coalesce(TRY_CAST({value} AS DOUBLE), 1) <> 0 THEN {value} END"


def is_list(kind: str) -> bool:
    """Whether every cell of such a column is a list."""
    return kind.endswith("[]")


def may_be_list(kind: str) -> bool:
    """Whether a cell of such a column can be a list."""
    return is_list(kind) or kind in ("VARCHAR", "JSON")


def numbers(cell: str, kind: str) -> tuple[str, str]:
    """The list that a cell of rewards is, and its elements' type; null where the cell is no flat list.

    As text it is a list of JSON, of Python or of numpy: [0, 1], [True, False], [0. 1.].
    """
    if is_list(kind):
        return cell, kind[:-2]
    if kind not in ("VARCHAR", "JSON"):
        return "NULL::VARCHAR[]", "VARCHAR"
    return (
        f"list_transform({list_cells_sql(text(cell, kind))}, lambda e: CASE WHEN lower(e) NOT IN ('null', 'none', '') THEN e END)",
        "VARCHAR",
    )


def elements(cell: str, kind: str) -> tuple[str, str]:
    """The list that a cell of anything is, and its elements' type; null where it is no list."""
    if is_list(kind):
        return cell, kind[:-2]
    if kind == "JSON":
        return f"TRY_CAST({cell} AS JSON[])", "JSON"
    if kind == "VARCHAR":
        read = f"list_transform(TRY_CAST(TRY_CAST({cell} AS JSON) AS JSON[]), lambda e: e ->> '$')"
        return f"CASE WHEN starts_with(ltrim({cell}), '[') THEN coalesce({read}, TRY_CAST({cell} AS VARCHAR[])) END", "VARCHAR"
    return "NULL::VARCHAR[]", "VARCHAR"


def may_be_messages(kind: str) -> bool:
    """Whether a cell of such a column can be a list of chat messages: a text never is, whatever it starts with."""
    return kind == "JSON" or (kind.startswith("STRUCT") and "role" in kind and "content" in kind)


def messages(cell: str, kind: str) -> str:
    """VARCHAR: the JSON list of a cell's chat messages (one message is a list of one); null where it holds none."""
    if not may_be_messages(kind):
        return "NULL::VARCHAR"
    if kind != "JSON":  # Parquet gives every message every key, null where it has none
        one = cell if is_list(kind) else f"CASE WHEN {cell} IS NOT NULL THEN [{cell}] END"
        dropped = f"list_transform({one}, lambda m: json_merge_patch('{{}}', to_json(m)))"
        return f"CASE WHEN len({one}) > 0 THEN CAST(to_json({dropped}) AS VARCHAR) END"
    raw = f"ltrim(CAST({cell} AS VARCHAR))"
    listed = f"CASE WHEN starts_with({raw}, '[') THEN TRY_CAST({cell} AS JSON[]) WHEN starts_with({raw}, '{{') THEN [{cell}] END"
    return f"CASE WHEN len({listed}) > 0 AND len(list_filter({listed}, lambda m: {_MESSAGE})) = len({listed}) " + (
        f"THEN CAST(to_json({listed}) AS VARCHAR) END"
    )


def canonical(messages_text: str) -> str:
    """VARCHAR: what `core.records.prompt_id` hashes of chat messages, given their JSON list."""
    message = "coalesce(m ->> '$.role', '') || chr(31) || coalesce(m ->> '$.content', '')"
    return f"array_to_string(list_transform(CAST(CAST({messages_text} AS JSON) AS JSON[]), lambda m: {message}), chr(30))"
