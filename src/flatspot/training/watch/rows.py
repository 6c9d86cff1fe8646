"""Rows of a training before they are written: collected by batch, and converted to a table of the declared columns at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from flatspot.core.schema import ROLLOUTS, arrow_schema
from flatspot.rollouts.store import storable
from flatspot.stats.evidence import Floats
from flatspot.training.watch.calls import Rows

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


@dataclass(frozen=True)
class ScoredRows:
    """The scored rows of one generation batch of this process.

    parts   [C, rows] each component, NaN = not scored
    total   [rows] weighted sum, NaN = not scored
    errors  why a component failed on a row; None if none failed
    sample  number of each row among the completions of its prompt
    known   number of prompts in the training so far
    """

    rows: Rows
    parts: Floats
    total: Floats
    errors: Sequence[str | None]
    sample: Sequence[int]
    step: int | None
    split: str | None
    known: int


def rollout_table(batches: Sequence[ScoredRows], names: Sequence[str], policy: str) -> pa.Table:
    """The rows of some batches with the columns of `core.schema.ROLLOUTS`."""
    import pyarrow as pa

    total = np.concatenate([b.total for b in batches])
    parts = np.concatenate([b.parts for b in batches], axis=1).T.reshape(-1)
    n, unscored = len(total), np.isnan(total)
    errors = _all(b.errors for b in batches)
    none = f"{', '.join(names)}: returned None"
    schema = arrow_schema(ROLLOUTS)
    columns: dict[str, object] = {
        "prompt_id": _all(b.rows.ids for b in batches),
        "prompt": _all(b.rows.text for b in batches),
        "completion": [storable(text) for b in batches for text in b.rows.completion],
        "sample_idx": _all(b.sample for b in batches),
        "reward": pa.array(total, mask=unscored),
        "rewards": pa.MapArray.from_arrays(
            np.arange(0, n * len(names) + 1, len(names), dtype=np.int32),
            pa.array([storable(name) for name in names] * n, pa.string()),
            pa.array(parts, mask=np.isnan(parts)),
        ),
        "error": [storable(own or none) if missing else None for own, missing in zip(errors, unscored.tolist(), strict=True)],
        "step": _all([b.step] * len(b.total) for b in batches),
        "policy": [storable(policy)] * n,
        "truncated": _all(b.rows.cut for b in batches),
        "n_tokens": _all(b.rows.n_tokens for b in batches),
        "split": _all([b.split] * len(b.total) for b in batches),
        "fixed": [True] * n,
    }
    return pa.table({name: columns.get(name, pa.nulls(n, schema.field(name).type)) for name in schema.names}, schema=schema)


def _all(lists: Iterable[Sequence[T]]) -> list[T]:
    return [value for values in lists for value in values]
