"""Labeled prompts as token ids for finetuning: the prompt exactly as it is sampled from, the answer, and an end token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flatspot.core.errors import PromptFileError
from flatspot.core.plain import Json
from flatspot.core.records import Completion, PromptText
from flatspot.engines.prompts import Encoder, encode, excerpt
from flatspot.engines.templates import chat_ids
from flatspot.training.inputs import LabeledRow

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token without a loss."""

_SHOWN = 5


@dataclass(frozen=True)
class Reader:
    """The `Encoder` of a model that is not loaded yet.

    eos_ids          the tokens that end a completion when sampling
    context          maximum number of tokens, None where positions are relative
    vocabulary       number of tokens of the vocabulary, None if unknown
    template_kwargs  values that the chat template gets
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    encoder_decoder: bool
    eos_ids: tuple[int, ...]
    context: int | None
    vocabulary: int | None = None
    template_kwargs: Mapping[str, Json] = field(default_factory=dict)


def reader_of(
    name: str,
    config: PreTrainedConfig,
    generation_config: GenerationConfig | None,
    tokenizer: PreTrainedTokenizerBase,
    template_kwargs: Mapping[str, Json],
) -> Reader:
    """The reader of a model from its configuration, without its weights."""
    from types import SimpleNamespace

    from flatspot.engines.policy import eos_ids_of

    ends = eos_ids_of(SimpleNamespace(config=config, generation_config=generation_config), tokenizer)
    context = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return Reader(
        name,
        tokenizer,
        bool(getattr(config, "is_encoder_decoder", False)),
        ends,
        context,
        int(config.get_text_config(decoder=True).vocab_size),
        template_kwargs,
    )


def examples(rows: Sequence[LabeledRow], reader: Encoder) -> list[dict[str, list[int]]]:
    """One {"input_ids", "labels"} per row {"prompt", "completion"}, as transformers' collators expect them.

    Causal: prompt and answer in one sequence, the prompt's labels ignored. Encoder–decoder: the prompt, and the answer as labels. The
    prompt's ids are those that sampling starts from, even if its last letters would merge with the answer's first ones into one token.
    Raises PromptFileError with the rows whose answer is missing, empty, or too long for the context.
    """
    problems: list[str] = []
    encoded = []
    for number, row in enumerate(rows, 1):
        prompt, answer = row.get("prompt"), row.get("completion")
        if prompt is None or not isinstance(answer, str) or not answer.strip():
            what = "no prompt" if prompt is None else f"no answer to {excerpt(prompt)}"
            problems.append(f"label {number}: {what}: expected text, got {answer!r}")
            continue
        ids, answer_ids = encode(reader, prompt), answer_tokens(reader, prompt, answer)
        need = max(len(ids), len(answer_ids)) if reader.encoder_decoder else len(ids) + len(answer_ids)
        if reader.context is not None and need > reader.context:
            problems.append(
                f"label {number}: {excerpt(prompt)} has {len(ids)} tokens and its answer {len(answer_ids)}, more than the context of "
                f"{reader.context}: shorten the answer"
            )
        if reader.encoder_decoder:
            encoded.append({"input_ids": ids, "labels": answer_ids})
        else:
            encoded.append({"input_ids": ids + answer_ids, "labels": [IGNORED] * len(ids) + answer_ids})
    if problems:
        more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        head = f"{len(problems)} of {len(rows)} labels cannot be used to train {reader.name}"
        raise PromptFileError("\n  ".join([head, *problems[:_SHOWN], *more]))
    return encoded


def answer_tokens(reader: Encoder, prompt: PromptText, answer: str) -> list[int]:
    """The ids that the policy would sample for this answer, followed by an end token if it has one."""
    tokenizer = reader.tokenizer
    if reader.encoder_decoder:
        ids = list(tokenizer(text_target=answer)["input_ids"])
    else:
        continuation = _after(encode(reader, prompt), _prompt_and_answer(reader, prompt, answer))
        ids = continuation or list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    for place, token in enumerate(ids):
        if token in reader.eos_ids:  # a template may add text after the end of the turn
            return ids[: place + 1]
    return ids + _end(reader)


def _prompt_and_answer(reader: Encoder, prompt: PromptText, answer: str) -> list[int]:
    if isinstance(prompt, str):
        return list(reader.tokenizer(prompt + answer)["input_ids"])
    messages = [*(dict(message) for message in prompt), {"role": "assistant", "content": answer}]
    return chat_ids(reader.tokenizer, messages, excerpt(prompt), reader.name, open_turn=False, values=reader.template_kwargs)


def _after(prompt: list[int], whole: list[int]) -> list[int]:
    """The ids after the prompt; empty if the sequence does not start with the prompt's ids."""
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else []


def _end(reader: Encoder) -> list[int]:
    own = reader.tokenizer.eos_token_id
    if own in reader.eos_ids:
        return [own]
    return [reader.eos_ids[0]] if reader.eos_ids else []


def with_end(reader: Encoder, prompt: PromptText, completion: Completion) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of a sampled completion, including its end token."""
    ids = list(completion.token_ids)
    return encode(reader, prompt), ids if completion.truncated else ids + _end(reader)


def pairs(rows: Sequence[LabeledRow], reader: Encoder) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of labeled rows."""
    return [(encode(reader, row["prompt"]), answer_tokens(reader, row["prompt"], row["completion"])) for row in rows]
