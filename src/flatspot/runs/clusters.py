"""Which task each prompt of a run is of: by a column that a user names, or by the name that prompts of several tasks carry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import Ints
from flatspot.stats.models.clusters import FEW_CLUSTERS

if TYPE_CHECKING:
    import pyarrow as pa

USUAL_COLUMN = "task"  # that the prompts of reasoning-gym carry
NO_COLUMN = "none"  # --cluster-col none: limits for further prompts of the same tasks


@dataclass(frozen=True)
class Clusters:
    """The tasks of a run's prompts.

    column  whose values tell tasks apart
    of      [M] the task of each prompt, from 0; a prompt without one is a task of its own
    count   how many there are
    used    whether limits are those for prompts of other tasks, and not for further prompts of these
    """

    column: str
    of: Ints
    count: int
    used: bool

    def subset(self, rows: NDArray[np.bool_]) -> Clusters:
        """The same of the prompts that `rows` [M] marks."""
        _, of = np.unique(self.of[rows], return_inverse=True)
        return Clusters(self.column, of.astype(np.int64), len(np.unique(of)), self.used)


def clusters_of(prompts: pa.Table, column: str | None) -> Clusters | None:
    """The tasks of the prompts of a run; None where all are of one, or nothing tells.

    prompts  as `core.schema.PROMPTS` has them
    column   as named by `--cluster-col`; None: `task`, of which five or more are used; "none": the same, and not used

    Raises `SettingsError` where no prompt has a value in the column that is named.

    >>> import pyarrow as pa
    >>> table = pa.table({"columns": ['{"task": "gcd"}', '{"task": "lcm"}', '{"task": "gcd"}', '{}']})
    >>> clusters_of(table, None)
    Clusters(column='task', of=array([0, 1, 0, 2]), count=3, used=False)
    """
    name = USUAL_COLUMN if column in (None, NO_COLUMN) else column
    values = _values(prompts["columns"], name)
    if not any(value is not None for value in values):
        if column in (None, NO_COLUMN):
            return None
        names = sorted({key for columns in prompts["columns"].to_pylist()[:1000] for key in json.loads(columns or "{}")})
        raise SettingsError(
            f"--cluster-col {column}: no prompt has a value in this column; its columns are {', '.join(names) or 'none'}. Name one of "
            f"them, or leave the option out"
        )
    keys = {value: i for i, value in enumerate(dict.fromkeys(value for value in values if value is not None))}
    of = np.array([len(keys) + i if value is None else keys[value] for i, value in enumerate(values)], np.int64)
    kinds, at = np.unique(of, return_inverse=True)
    if len(kinds) in (1, len(of)) and column in (None, NO_COLUMN):
        return None
    used = column != NO_COLUMN and (column is not None or len(kinds) >= FEW_CLUSTERS)
    return Clusters(name or USUAL_COLUMN, at.astype(np.int64), len(kinds), used)


def _values(columns: pa.ChunkedArray, name: str) -> list[str | None]:
    """The value of a column of each prompt as text; None where there is none. Rows that do not name the column are not read."""
    import pyarrow.compute as pc

    spelled = {json.dumps(name, ensure_ascii=escaped) for escaped in (False, True)}
    named = pc.fill_null(reduce(pc.or_, [pc.match_substring(columns, text) for text in spelled]), False)
    values: list[str | None] = [None] * len(columns)
    for i, row in zip(np.flatnonzero(named.to_numpy(zero_copy_only=False)).tolist(), columns.filter(named).to_pylist(), strict=True):
        values[i] = _value(row, name)
    return values


def _value(columns: str, name: str) -> str | None:
    value = json.loads(columns).get(name)
    return None if value is None or value == "" else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
