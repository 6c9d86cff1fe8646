"""A trainer's call of a reward function, read: prompts, completions, columns, and what came back."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from flatspot.core.content import content_text
from flatspot.core.records import LARGEST_REWARD, PromptText, prompt_content, prompt_id
from flatspot.rollouts.store import prompt_text
from flatspot.stats.evidence import Floats

Call = Mapping[str, Any]
_RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments")


def read_prompt(prompt: Any) -> tuple[str, PromptText, str, tuple[str, ...]]:
    """(content hash, text or messages, text as stored, types of what in it the hash cannot tell) of a prompt; pictures as their hashes.

    >>> read_prompt("2 + 2 =")
    ('154e0c9c61763891', '2 + 2 =', '2 + 2 =', ())
    """
    if isinstance(prompt, str):
        return _read_text(prompt)
    name, opaque = prompt_content(prompt)
    stored = content_text(prompt)[0]
    messages = isinstance(prompt, list | tuple) and all(isinstance(message, Mapping) for message in prompt)
    return name, json.loads(stored) if messages else stored, stored, opaque


@lru_cache(maxsize=4096)  # a group asks for the same prompt again and again
def _read_text(prompt: str) -> tuple[str, PromptText, str, tuple[str, ...]]:
    return prompt_id(prompt), prompt, prompt_text(prompt), ()


def completion_text(completion: Any) -> str:
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
    """A code of a text that is equal on every process, made of its length and checksum, so that a float holds it exactly."""
    raw = text.encode("utf-8", "backslashreplace")
    return float(zlib.crc32(raw) + ((len(raw) & 0xFFFF) << 32))


def columns_of(call: Call, row: int) -> dict[str, Any]:
    """The columns of a row of the data set, as the trainer passes them."""
    n = len(call["completions"])
    lists = {k: v for k, v in call.items() if k not in _RESERVED and isinstance(v, Sequence) and not isinstance(v, str)}
    return {name: values[row] for name, values in lists.items() if len(values) == n}


def stored_columns(call: Call, row: int) -> dict[str, Any]:
    """The same in JSON's types: a picture as its hash, so that nobody holds on to the picture."""
    found: dict[str, Any] = json.loads(content_text(columns_of(call, row))[0])
    return found


def step_of(call: Call) -> tuple[int | None, int | None]:
    """(the update about to be made, how many are planned), None where the trainer does not say."""
    state = call.get("trainer_state")
    step, most = getattr(state, "global_step", None), getattr(state, "max_steps", None)
    return (None if step is None else int(step)), (None if not most else int(most))


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def numbers_of(name: str, raw: Sequence[Any]) -> tuple[Floats, list[str | None]]:
    """(values, errors) of one function's answer, one a row: None is NaN without an error, what is no finite number NaN with one.

    >>> values, errors = numbers_of("f", [1, None, "yes"])
    >>> values.tolist(), errors
    ([1.0, nan, nan], [None, None, 'f: returned yes, which is not a finite number'])
    """
    values = np.array([_number(value) for value in raw])
    usable = np.isfinite(values) & (np.abs(np.where(np.isfinite(values), values, 0.0)) <= LARGEST_REWARD)
    errors: list[str | None] = [None] * len(values)
    for i in np.flatnonzero(~usable).tolist():
        if raw[i] is not None:
            why = "larger than a reward can be" if math.isfinite(values[i]) else "which is not a finite number"
            errors[i] = f"{name}: returned {str(raw[i])[:60]}, {why}"
    return np.where(usable, values, math.nan), errors


@dataclass(frozen=True)
class Rows:
    """The rows of a call, one entry per completion.

    prompt    as `read_prompt` gives it
    n_tokens  None where the trainer passes no token ids
    cut       whether the token limit cut it: its last token ends nothing; None where the ending tokens are not known
    opaque   types of what in the prompts no hash can tell: rows of different prompts may share an id
    """

    ids: list[str]
    prompt: list[PromptText]
    text: list[str]
    completion: list[str]
    n_tokens: list[int | None]
    cut: list[bool | None]
    opaque: tuple[str, ...] = ()


def read_rows(call: Call, ends: frozenset[int] | None) -> Rows:
    """The rows of a call; `ends` are the token ids that end a completion."""
    tokens = call.get("completion_ids")
    found = [read_prompt(prompt) for prompt in call["prompts"]]
    unknown: list[Any] = [None] * len(found)
    return Rows(
        ids=[name for name, _, _, _ in found],
        prompt=[prompt for _, prompt, _, _ in found],
        text=[text for _, _, text, _ in found],
        completion=[completion_text(completion) for completion in call["completions"]],
        n_tokens=unknown if tokens is None else [len(ids) for ids in tokens],
        cut=unknown if tokens is None or not ends else [len(ids) > 0 and int(ids[-1]) not in ends for ids in tokens],
        opaque=tuple(dict.fromkeys(name for _, _, _, opaque in found for name in opaque)),
    )


def by_position(rows: Rows, size: int | None, first: int, batch: str) -> Rows:
    """Rows whose ids cannot tell their prompts apart, each `size` consecutive ones a prompt of their own.

    size   completions of a prompt; None: as many as the least run of equal ids allows
    first  rows of other processes before these
    batch  what tells this batch from others: such a prompt is not recognised when it comes again
    """
    if size is None:
        starts = [i for i, name in enumerate(rows.ids) if i == 0 or name != rows.ids[i - 1]]
        size = math.gcd(*(b - a for a, b in itertools.pairwise([*starts, len(rows.ids)])))
    ids = [prompt_id(f"{name}\x1f{batch}\x1f{(first + i) // size}") for i, name in enumerate(rows.ids)]
    return replace(rows, ids=ids)
