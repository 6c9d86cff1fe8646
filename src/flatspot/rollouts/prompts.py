"""prompts.parquet of a run folder: the prompts in order, and what their real answers earn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
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
# in the table itself, so that its values and what is to be known of them are written at once
_ANSWER_COL, _UNSCORED = b"flatspot_answer_col", b"flatspot_unscored_answers"


@dataclass(frozen=True, slots=True)
class UnscoredAnswers:
    """How many of the real answers have no reward, of how many, and the most frequent reason."""

    n: int
    of: int
    reason: str


def prompt_table(
    prompts: Sequence[Prompt],
    answer_rewards: Sequence[float | None],
    answer_col: str | None = None,
    unscored: UnscoredAnswers | None = None,
) -> pa.Table:
    """Prompts as an Arrow table with the declared columns, in order; the name of the column with their real answers, and how many fail."""
    import pyarrow as pa

    schema = arrow_schema(PROMPTS)
    said = {} if answer_col is None else {_ANSWER_COL: answer_col.encode()}
    said |= {} if unscored is None else {_UNSCORED: json.dumps(astuple(unscored)).encode()}
    return pa.table(
        {
            "prompt_id": [storable(p.id) for p in prompts],
            "prompt": [prompt_text(p.text) for p in prompts],
            "is_chat": [p.is_chat for p in prompts],
            "columns": [storable(content_text(dict(p.columns))[0]) for p in prompts],
            "answer_reward": pa.array(list(answer_rewards), pa.float64()),
        },
        schema=schema.with_metadata({**(schema.metadata or {}), **said}) if said else schema,
    )


def answers_are_of(folder: Path, answer_col: str | None, *, any_answers: bool) -> bool:
    """Whether a folder has its prompts, with what the answers in this column earn; an earlier version scored none, if there are any."""
    file = folder / "prompts.parquet"
    if not file.exists():
        return False
    schema = read_table(file, ["prompt_id", _ANSWERS], optional=(_ANSWERS,)).schema
    stored = (schema.metadata or {}).get(_ANSWER_COL)
    return stored == (None if answer_col is None else answer_col.encode()) and (_ANSWERS in schema.names or not any_answers)


def read_unscored_answers(folder: Path) -> UnscoredAnswers | None:
    """The real answers of a run's prompts that have no reward; None where all have one, or there are none."""
    stored = (read_table(folder / "prompts.parquet", ["prompt_id"]).schema.metadata or {}).get(_UNSCORED)
    return None if stored is None else UnscoredAnswers(*json.loads(stored))


def read_prompt_table(folder: Path) -> pa.Table:
    """prompts.parquet with the declared columns; in one of an earlier version no answers have been scored."""
    import pyarrow as pa

    table = read_table(folder / "prompts.parquet", [column.name for column in PROMPTS], optional=(_ANSWERS,))
    return table if _ANSWERS in table.column_names else table.append_column(_ANSWERS, pa.nulls(len(table), pa.float64()))
