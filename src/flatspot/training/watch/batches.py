"""A generation batch while it is scored: collected per reward function, exchanged between processes, and assembled."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np

from flatspot.core.plain import Json
from flatspot.core.records import PromptText
from flatspot.stats.evidence import Floats
from flatspot.training.watch.calls import Call, Rows, stored_columns, text_code
from flatspot.training.watch.live import Batch


@dataclass
class OpenBatch:
    """A generation batch whose reward functions have not all returned yet.

    values, errors  of each watched component that has returned
    returned        the components that have returned
    trouble         why the values of one could not be read
    failed          whether one raised
    """

    call: Call
    values: dict[int, Floats] = field(default_factory=dict)
    errors: dict[int, list[str | None]] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)
    trouble: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class LocalRows:
    """The rows of one process in a batch, as sent to the other processes; `new` are the prompts that it has not seen before."""

    ids: list[str]
    parts: Floats
    codes: list[float]
    cut: list[float]
    new: dict[str, tuple[PromptText, dict[str, Json]]]
    errors: int


@dataclass(frozen=True)
class Sent:
    """What a process sends to the others when its rewards of a batch have returned.

    number   how many batches it has sent before
    trouble  why its rows are unusable, None if they are not
    failed   whether a reward function raised, which ends the training
    stored   the number of prompts in the run folder, as the first process knows it
    """

    number: int
    trouble: str | None
    rows: LocalRows | None
    failed: bool
    stored: int


@dataclass(frozen=True)
class ScoredBatch:
    """A batch for which all watched functions of all processes have returned: the rows of this process, and the batch of all."""

    call: Call
    rows: Rows
    errors: list[str | None]
    sample: list[int]
    own: slice
    batch: Batch
    split: str | None


def local_rows(
    now: OpenBatch, rows: Rows, place: Sequence[int | None], components: int, shared: Container[str]
) -> tuple[list[str | None], LocalRows]:
    """(the errors of this process's rows, the rows to send to the other processes).

    place       of each watched component, among all `components` that the trainer sums
    shared      the ids of prompts that all processes already have
    """
    n = len(rows.ids)
    parts = np.full((components, n), math.nan)
    for component, values in now.values.items():
        if (at := place[component]) is not None:
            parts[at] = values
    errors = ["; ".join(e for e in row if e) or None for row in zip(*now.errors.values(), strict=True)] or [None] * n
    new = {name: (rows.prompt[i], stored_columns(now.call, i)) for i, name in enumerate(rows.ids) if name not in shared}
    cut = [math.nan if c is None else float(c) for c in rows.cut]
    codes = [text_code(text) for text in rows.completion]
    return errors, LocalRows(rows.ids, parts, codes, cut, new, sum(error is not None for error in errors))


def batch_of(shared: Sequence[LocalRows], numbers: Sequence[int], step: int | None, *, is_eval: bool) -> Batch:
    """The batch of all processes; `numbers` are the numbers of the rows' prompts."""
    return Batch(
        step=step,
        prompt=np.array(numbers),
        parts=np.concatenate([part.parts for part in shared], axis=1),
        completion=np.array([code for part in shared for code in part.codes]),
        truncated=np.array([value for part in shared for value in part.cut]),
        errors=sum(part.errors for part in shared),
        is_eval=is_eval,
    )


def short(error: BaseException) -> str:
    """An exception in a message: its type, and the beginning of what it says."""
    return f"{type(error).__name__}: {str(error)[:300]}"
