"""A generation batch on its way: answered function by function, told to the other processes, and put together of what all tell."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.training.watch.calls import Call, Rows, stored_columns, text_code
from flatspot.training.watch.live import Batch


@dataclass
class Open:
    """A generation batch whose reward functions have not all answered yet."""

    call: Call
    values: dict[int, Floats] = field(default_factory=dict)
    errors: dict[int, list[str | None]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    trouble: str | None = None


@dataclass(frozen=True)
class Local:
    """What a process tells the others of its rows of a batch; `new` holds the prompts that it has not seen before."""

    ids: list[str]
    parts: Floats
    codes: list[float]
    cut: list[float]
    new: dict[str, tuple[Any, dict[str, Any]]]
    errors: int


@dataclass(frozen=True)
class Scored:
    """A batch that all watched functions of all processes have answered: this process's rows, and the batch of all."""

    call: Call
    rows: Rows
    errors: list[str | None]
    sample: list[int]
    mine: slice
    batch: Batch
    split: str | None


def local_rows(
    now: Open, rows: Rows, place: Sequence[int | None], components: int, known: Container[str]
) -> tuple[list[str | None], Local]:
    """(the errors of this process's rows, what the other processes are told of them).

    place       of each watched component, among all `components` that the trainer adds up
    known       the ids of prompts that all processes know already
    """
    n = len(rows.ids)
    parts = np.full((components, n), math.nan)
    for component, values in now.values.items():
        if (at := place[component]) is not None:
            parts[at] = values
    errors = ["; ".join(e for e in row if e) or None for row in zip(*now.errors.values(), strict=True)] or [None] * n
    new = {name: (rows.prompt[i], stored_columns(now.call, i)) for i, name in enumerate(rows.ids) if name not in known}
    cut = [math.nan if c is None else float(c) for c in rows.cut]
    codes = [text_code(text) for text in rows.completion]
    return errors, Local(rows.ids, parts, codes, cut, new, sum(error is not None for error in errors))


def batch_of(shared: Sequence[Local], numbers: Sequence[int], step: int | None, *, is_eval: bool) -> Batch:
    """The batch of all processes; `numbers` are those of the rows' prompts."""
    return Batch(
        step=step,
        prompt=np.array(numbers),
        parts=np.concatenate([part.parts for part in shared], axis=1),
        completion=np.array([code for part in shared for code in part.codes]),
        truncated=np.array([value for part in shared for value in part.cut]),
        errors=sum(part.errors for part in shared),
        is_eval=is_eval,
    )
