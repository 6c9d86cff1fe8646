"""prompts.parquet of a run folder: the prompts in order, and what their real answers earn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.content import content_text
from flatspot.core.records import Prompt
from flatspot.core.schema import PROMPTS, arrow_schema
from flatspot.rollouts.store import prompt_text, storable
from flatspot.rollouts.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa

_ANSWERS = "answer_reward"
_ANSWER_COL = b"flatspot_answer_col"  # in the table itself, so that its values and their column are written at once


def prompt_table(prompts: Sequence[Prompt], answer_rewards: Sequence[float | None], answer_col: str | None = None) -> pa.Table:
    """Prompts as an Arrow table with the declared columns, in order, and the name of the column with their real answers."""
    import pyarrow as pa

    schema = arrow_schema(PROMPTS)
    return pa.table(
        {
            "prompt_id": [storable(p.id) for p in prompts],
            "prompt": [prompt_text(p.text) for p in prompts],
            "is_chat": [p.is_chat for p in prompts],
            "columns": [storable(content_text(dict(p.columns))[0]) for p in prompts],
            "answer_reward": pa.array(list(answer_rewards), pa.float64()),
        },
        schema=schema if answer_col is None else schema.with_metadata({**(schema.metadata or {}), _ANSWER_COL: answer_col.encode()}),
    )


def answers_are_of(folder: Path, answer_col: str | None) -> bool:
    """Whether a folder has its prompts, with what the answers in this column earn."""
    file = folder / "prompts.parquet"
    if not file.exists():
        return False
    stored = (read_table(file, ["prompt_id"]).schema.metadata or {}).get(_ANSWER_COL)
    return stored == (None if answer_col is None else answer_col.encode())


def read_prompt_table(folder: Path) -> pa.Table:
    """prompts.parquet with the declared columns; in one of an earlier version no answers have been scored."""
    import pyarrow as pa

    table = read_table(folder / "prompts.parquet", [column.name for column in PROMPTS], optional=(_ANSWERS,))
    return table if _ANSWERS in table.column_names else table.append_column(_ANSWERS, pa.nulls(len(table), pa.float64()))
