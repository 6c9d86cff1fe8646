"""Read a trainer's call of a reward function: prompts, completions, columns, and the values returned."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, SupportsFloat

import numpy as np

from flatspot.core.content import content_text
from flatspot.core.media import MEDIA_COLUMNS, named_with_media
from flatspot.core.plain import Json
from flatspot.core.records import LARGEST_REWARD, PromptText, prompt_content, prompt_id
from flatspot.rollouts.store import prompt_text
from flatspot.stats.evidence import Floats

Call = Mapping[str, Any]
"""The keyword arguments of a call; which ones there are depends on the trainer and the data set."""
Value = SupportsFloat | str | None
"""What a reward function may return for a completion."""
_RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")


def read_prompt(prompt: object) -> tuple[str, PromptText, str, tuple[str, ...]]:
    """(content hash, text or messages, text as stored, types of parts that the hash does not cover) of a prompt; pictures as their hashes.

    >>> read_prompt("2 + 2 =")
    ('154e0c9c61763891', '2 + 2 =', '2 + 2 =', ())
    """
    if isinstance(prompt, str):
        return _read_text(prompt)
    name, opaque = prompt_content(prompt)
    stored = content_text(prompt)[0]
    messages = isinstance(prompt, list | tuple) and all(isinstance(message, Mapping) for message in prompt)
    return name, json.loads(stored) if messages else stored, stored, opaque


@lru_cache(maxsize=4096)  # the same prompt comes once per completion of a group
def _read_text(prompt: str) -> tuple[str, PromptText, str, tuple[str, ...]]:
    return prompt_id(prompt), prompt, prompt_text(prompt), ()


def completion_text(completion: object) -> str:
    """A completion as stored: its text, that of its one assistant message, or its messages as JSON.

    >>> completion_text([{"role": "assistant", "content": "4"}])
    '4'
    """
    if isinstance(completion, str):
        return completion
    alone = completion[0] if isinstance(completion, list | tuple) and len(completion) == 1 else None
    content = alone.get("content") if isinstance(alone, Mapping) else None
    return content if isinstance(content, str) else content_text(completion)[0]


def text_code(text: str) -> float:
    """A code of a text from its length and checksum: equal on every process, and exact as a float."""
    raw = text.encode("utf-8", "backslashreplace")
    return float(zlib.crc32(raw) + ((len(raw) & 0xFFFF) << 32))


def columns_of(call: Call, row: int) -> dict[str, object]:
    """The data set's columns for one row, as the trainer passes them."""
    n = len(call["completions"])
    lists = {k: v for k, v in call.items() if k not in _RESERVED and isinstance(v, Sequence) and not isinstance(v, str)}
    return {name: values[row] for name, values in lists.items() if len(values) == n}


def stored_columns(call: Call, row: int) -> dict[str, Json]:
    """The same as JSON values: a picture as its hash, so that the picture itself is not kept in memory."""
    columns: dict[str, Json] = json.loads(content_text(columns_of(call, row))[0])
    return columns


def step_of(call: Call) -> tuple[int | None, int | None]:
    """(number of the current update, planned number of updates), None if the trainer does not pass them."""
    state = call.get("trainer_state")
    step, most = getattr(state, "global_step", None), getattr(state, "max_steps", None)
    return (None if step is None else int(step)), (None if not most else int(most))


def _number(value: Value) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def numbers_of(name: str, raw: Sequence[Value]) -> tuple[Floats, list[str | None]]:
    """(values, errors) of one function's result, per row: None is NaN without an error, anything but a finite number NaN with one.

    >>> values, errors = numbers_of("f", [1, None, "yes"])
    >>> values.tolist(), errors
    ([1.0, nan, nan], [None, None, 'f: returned yes, which is not a finite number'])
    """
    values = np.array([_number(value) for value in raw])
    usable = np.isfinite(values) & (np.abs(np.where(np.isfinite(values), values, 0.0)) <= LARGEST_REWARD)
    errors: list[str | None] = [None] * len(values)
    for i in np.flatnonzero(~usable).tolist():
        if raw[i] is not None:
            why = "larger than the largest reward allowed" if math.isfinite(values[i]) else "which is not a finite number"
            errors[i] = f"{name}: returned {str(raw[i])[:60]}, {why}"
    return np.where(usable, values, math.nan), errors


@dataclass(frozen=True)
class Rows:
    """The rows of a call, one entry per completion.

    prompt    as returned by `read_prompt`
    n_tokens  None if the trainer passes no token ids
    cut       whether the token limit cut it: its last token is not an end token; None if the end tokens are unknown
    opaque    types of parts of the prompts that the hash does not cover: rows of different prompts may share an id
    """

    ids: list[str]
    prompt: list[PromptText]
    text: list[str]
    completion: list[str]
    n_tokens: list[int | None]
    cut: list[bool | None]
    opaque: tuple[str, ...] = ()


def read_rows(call: Call, ends: frozenset[int] | None) -> Rows:
    """The rows of a call; `ends` are the ids of the end tokens."""
    tokens = call.get("completion_ids")
    prompts = [read_prompt(prompt) for prompt in call["prompts"]]
    named = [(name, opaque) for name, _, _, opaque in prompts]
    if any(column in call for column in MEDIA_COLUMNS):
        for i, (name, opaque) in enumerate(named):
            own, more = named_with_media(name, call["prompts"][i], columns_of(call, i))
            named[i] = own, opaque + more
    return Rows(
        ids=[name for name, _ in named],
        prompt=[prompt for _, prompt, _, _ in prompts],
        text=[text for _, _, text, _ in prompts],
        completion=[completion_text(completion) for completion in call["completions"]],
        n_tokens=[None] * len(prompts) if tokens is None else [len(ids) for ids in tokens],
        cut=[None] * len(prompts) if tokens is None or not ends else [len(ids) > 0 and int(ids[-1]) not in ends for ids in tokens],
        opaque=tuple(dict.fromkeys(kind for _, opaque in named for kind in opaque)),
    )


def by_position(rows: Rows, size: int | None, first: int, batch: str) -> Rows:
    """Rows whose ids do not distinguish their prompts: each `size` consecutive rows become one prompt.

    size   completions per prompt; None: as many as the runs of equal ids allow
    first  number of rows of other processes before these
    batch  a name of this batch: such a prompt is not recognized in a later batch
    """
    if size is None:
        starts = [i for i, name in enumerate(rows.ids) if i == 0 or name != rows.ids[i - 1]]
        size = math.gcd(*(b - a for a, b in itertools.pairwise([*starts, len(rows.ids)])))
    ids = [prompt_id(f"{name}\x1f{batch}\x1f{(first + i) // size}") for i, name in enumerate(rows.ids)]
    return replace(rows, ids=ids)
