"""The words everyone shares: prompt, completion, sampling, score, rollout."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from flatspot.core.content import content_text, parts_text
from flatspot.core.errors import SettingsError

# a larger one is an error of its row: squares of rewards, and sums of them over any set, must stay within what a float holds
LARGEST_REWARD = 1e50

Message = Mapping[str, str]
PromptText = str | Sequence[Message]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One input of the policy: its id, its text (or chat messages), and every further column of its row."""

    id: str
    text: PromptText
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_chat(self) -> bool:
        """Whether the prompt is chat messages rather than text."""
        return not isinstance(self.text, str)

    @property
    def references(self) -> tuple[str, ...]:
        """The reference answers of the row: its `references` (several), else its `reference` (one); empty where there is none.

        An empty text, white space alone, null and NaN are no answers; the number 4.0 is "4".

        >>> Prompt("a", "2+2=", {"references": ["4", ""], "reference": "5"}).references, Prompt("b", "?", {"reference": " "}).references
        (('4',), ())
        """
        return answers_of(self.columns.get("references")) or answers_of(self.columns.get("reference"))


def with_equal_columns(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts with a value for every column that any of them has: None where a row lacks it.

    A reward is called with batches of rows. What it is given for a row must not depend on which other rows are in its batch.

    >>> [dict(p.columns) for p in with_equal_columns([Prompt("a", "x", {"answer": 4}), Prompt("b", "y", {"level": 1})])]
    [{'answer': 4, 'level': None}, {'answer': None, 'level': 1}]
    """
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    if all(len(prompt.columns) == len(names) for prompt in prompts):
        return list(prompts)
    return [Prompt(prompt.id, prompt.text, {name: prompt.columns.get(name) for name in names}) for prompt in prompts]


def answers_of(cell: object) -> tuple[str, ...]:
    """The answers in a cell, a text or a list of them, as texts; what is no answer (`has_answer`) is left out."""
    answers = cell if isinstance(cell, list | tuple) else [cell]
    return tuple(answer_text(answer) for answer in answers if has_answer(answer))


def has_answer(value: object) -> bool:
    """Whether a column holds a right answer: not where it is null, NaN, an empty text, white space alone, or a list of such.

    >>> has_answer(0), has_answer(["", "4"]), has_answer(" "), has_answer(float("nan")), has_answer([None])
    (True, True, False, False, False)
    """
    if isinstance(value, list | tuple):
        return any(map(has_answer, value))
    is_nan = isinstance(value, Real) and value != value  # of whole numbers too large for a float, math.isnan raises
    return value is not None and not is_nan and bool(str(value).strip())


def answer_text(answer: Any) -> str:
    """The text of a right answer. A float that is whole was a whole number: a table in which one is missing holds all others as floats.

    >>> answer_text(4.0), answer_text(0.5), answer_text("4.0")
    ('4', '0.5', '4.0')
    """
    return str(int(answer)) if isinstance(answer, float) and answer.is_integer() else str(answer)


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer: its text, its length in tokens, and whether the token limit cut it.

    messages  what it is where it is not one message of the assistant with this text: tool calls, their answers
    error     why there is none: its prompt does not fit the context, or a server rejects it
    logprob   the log-probability of its tokens, the end token included, under the law they were drawn from: after temperature, top-k and
              top-p; of a truncated one, that of the tokens it has; None where the engine cannot tell
    """

    text: str
    n_tokens: int
    truncated: bool
    token_ids: tuple[int, ...] = ()
    messages: tuple[Message, ...] | None = None
    error: str | None = None
    logprob: float | None = field(default=None, compare=False)  # whose last digits vary with the batch


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training is, as a reward that asks for TRL's trainer_state sees it; the defaults hold outside a training.

    max_steps is 1 there, not 0, because schedules divide by it.
    """

    global_step: int = 0
    max_steps: int = 1
    epoch: float = 0.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn. Nothing is ever taken from the model's own generation config.

    temperature     divides the logits; 1 samples the policy itself
    top_p, top_k    keep the smallest set of tokens with this mass, and at most this many; 1 and 0 keep all
    max_new_tokens  a completion is cut (truncated) after this many tokens
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise SettingsError(
                f"temperature must be a finite number above 0, got {self.temperature}; greedy decoding has no spread to measure"
            )
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise SettingsError(f"top_k must be 0 (all tokens) or more, got {self.top_k}")
        if self.max_new_tokens < 1:
            raise SettingsError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """A prompt to be answered once per seed; the answer to a seed depends on nothing else."""

    text: PromptText
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward said of one completion: the weighted total, each component, or why there is none.

    `reward` is None exactly when `error` says why; a failed reward is never a zero.
    """

    reward: float | None
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of a run: a completion of a prompt, and its reward. Columns are declared in `core.schema`.

    completion  None where none could be drawn: `error` says why
    """

    prompt_id: str
    prompt: PromptText
    completion: str | None
    sample_idx: int
    reward: float | None
    rewards: Mapping[str, float | None]
    error: str | None
    step: int | None
    policy: str
    truncated: bool | None
    n_tokens: int | None
    split: str | None = None
    kept: bool | None = None
    source: str | None = None
    fixed: bool | None = None
    completion_is_chat: bool | None = None
    logprob: float | None = None
    copied: bool | None = None


def prompt_id(text: PromptText) -> str:
    """The content hash that names a prompt across runs and trainers: the first 16 hex digits of SHA-256 of its canonical text.

    Canonical text: the text itself; of chat messages, each one's role and content joined by U+001F, the messages by U+001E. SQL can
    compute the same of these, so a prompt read from a log of millions of rows gets the name it has here. Content that is no text (pictures,
    tensors) counts by what it holds, as `core.content.parts_text` says, and so do a message's further keys, where they are not null.

    >>> prompt_id("2 + 2 =")
    '154e0c9c61763891'
    """
    return prompt_content(text)[0]


def prompt_content(text: object) -> tuple[str, tuple[str, ...]]:
    """(`prompt_id` of what was given as a prompt, the types of what in it nothing can be told of: such prompts may share the id).

    >>> prompt_content([{"role": "user", "content": [{"type": "image", "image": object()}]}])[1]
    ('object',)
    """
    if isinstance(text, str):
        return _short_hash(text), ()
    if not (isinstance(text, list | tuple) and all(isinstance(message, Mapping) and "content" in message for message in text)):
        canonical, opaque = content_text(text, sort_keys=True)
        return _short_hash(canonical), opaque
    messages = [_message(message) for message in text]
    canonical = "\x1e".join(part for part, _ in messages)
    return _short_hash(canonical), tuple(dict.fromkeys(name for _, opaque in messages for name in opaque))


def _message(message: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    content, opaque = parts_text(message["content"])
    canonical = f"{message.get('role') or ''}\x1f{content}"
    more = {key: value for key, value in message.items() if key not in ("role", "content") and value is not None}
    if more:  # a call of a tool, which may be all that a message says
        text, others = content_text(more, sort_keys=True)
        return f"{canonical}\x1f{text}", opaque + others
    return canonical, opaque


def _short_hash(canonical: str) -> str:
    return hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()[:16]
