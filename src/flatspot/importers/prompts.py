"""The prompts of an imported log, with those further columns that are one value per prompt: a reward may need them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.answers import ANSWER_COLUMNS
from flatspot.core.schema import PROMPTS
from flatspot.importers import cells
from flatspot.importers.grouping import Grouping
from flatspot.importers.rows import Cells

if TYPE_CHECKING:
    import duckdb

_OURS = ("id", "prompt", "prompts", "completion", "completions")  # names that a reward, or an export, has for something else

_FIRST = 20_000  # rows
_MOST_DIGITS = 4300  # of a whole number


def select_prompts(db: duckdb.DuckDBPyConnection, log_cells: Cells, grouping: Grouping, rollouts: Path) -> str:
    """Each prompt once, in the order of its first row in `rollouts`: the declared columns, over the view `cells`."""
    extras = _constant(db, log_cells, grouping)
    numbered = f"(SELECT prompt_id, prompt, file_row_number AS row_number FROM {cells.parquet(rollouts)})"
    first = (
        f"SELECT prompt_id AS id, arg_min(prompt, row_number) AS prompt, min(row_number) AS first_row FROM {numbered} GROUP BY prompt_id"
    )
    values = [f"any_value(extra_{i}) AS extra_{i}" for i in extras]
    further = f"SELECT {grouping.sql} AS id, {', '.join(['bool_or(is_chat) AS is_chat', *values])} FROM cells GROUP BY 1"
    pairs = ", ".join(f"{cells.literal(log_cells.extras[i])}, {_readable(f'extra_{i}')}" for i in extras)
    derived = {
        "prompt_id": "id",
        "prompt": "coalesce(prompt, '')",
        "is_chat": "coalesce(is_chat, false)",
        "columns": f"CAST(json_object({pairs}) AS VARCHAR)" if extras else "'{}'",
        "answer_reward": "NULL::DOUBLE",
    }
    picked = ", ".join(f"{derived[c.name]} AS {c.name}" for c in PROMPTS)
    if not extras and not log_cells.may_be_chat:
        return f"SELECT {picked} FROM (SELECT *, false AS is_chat FROM ({first})) ORDER BY first_row"
    return f"SELECT {picked} FROM ({first}) LEFT JOIN ({further}) USING (id) ORDER BY first_row"


def _readable(extra: str) -> str:
    """A further column as JSON that Python reads: a value with a number of more digits is kept as its text."""
    digits = f"list_filter(regexp_extract_all({extra}, '[0-9]+'), lambda found: length(found) > {_MOST_DIGITS})"
    huge = f"length({extra}) > {_MOST_DIGITS} AND NOT starts_with({extra}, '\"') AND len({digits}) > 0"
    return f"CASE WHEN {huge} THEN to_json({extra}) ELSE CAST({extra} AS JSON) END"


def _constant(db: duckdb.DuckDBPyConnection, log_cells: Cells, grouping: Grouping) -> list[int]:
    """The further columns that hold one value on all rows of a prompt, as far as prompts with several rows show it."""
    further = [i for i, name in enumerate(log_cells.extras) if name.lower() not in _OURS and name not in grouping.columns[:1]]
    if not further:
        return []
    for table in (f"(SELECT * FROM cells LIMIT {_FIRST})", "cells"):  # what differs from row to row is dropped by the first few
        same = [f"min(hash(extra_{i})) = max(hash(extra_{i})) AND count(extra_{i}) IN (0, count(*)) AS same_{i}" for i in further]
        there = [f"count(extra_{i}) > 0 AS there_{i}" for i in further]
        grouped = f"SELECT count(*) AS n, {', '.join([*same, *there])} FROM {table} GROUP BY {grouping.sql}"
        picked = ", ".join(f"bool_and(same_{i}) FILTER (n > 1), bool_or(there_{i})" for i in further)
        row = db.execute(f"SELECT {picked} FROM ({grouped})").fetchone() or (None,) * (2 * len(further))
        facts = {i: row[2 * at : 2 * at + 2] for at, i in enumerate(further)}
        further = [i for i, (same_in_all, _) in facts.items() if same_in_all is not False]
        if not further:
            return []
    # where each prompt has one row, nothing shows what is its prompt's: only what is called an answer is believed to be
    return [i for i in further if facts[i][1] and (facts[i][0] or log_cells.extras[i].lower() in ANSWER_COLUMNS)]


def spaces_apart(db: duckdb.DuckDBPyConnection, prompts: Path) -> list[str]:
    """A caveat where prompts differ from others in white space alone."""
    row = db.execute(
        f"SELECT count(*) - count(DISTINCT trim(regexp_replace(prompt, '\\s+', ' ', 'g'))) FROM "
        f"(SELECT DISTINCT prompt FROM {cells.parquet(prompts)} WHERE prompt <> '')"
    ).fetchone()
    n = row[0] if row else 0
    if not n:
        return []
    many = "prompts differ from others" if n > 1 else "prompt differs from another"
    return [f"{n} {many} in white space alone, and they are judged apart: a policy may answer them differently."]
