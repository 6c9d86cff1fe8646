"""Labelled prompts as the token ids a model is finetuned on: the prompt just as it is sampled from, then the answer, then its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flatspot.core.errors import PromptFileError
from flatspot.core.records import Completion, PromptText
from flatspot.engines.prompts import encode, excerpt
from flatspot.engines.templates import chat_ids

IGNORED = -100
"""The label of a token that is not learnt."""

_SHOWN = 5


@dataclass(frozen=True)
class Reader:
    """What tokenising needs to know of a policy; `engines.policy.Policy` has as much.

    eos_ids     what ends a completion when sampling
    context     tokens that fit, None where positions are relative
    vocabulary  how many tokens it has, None where that is not known
    """

    name: str
    tokenizer: Any
    encoder_decoder: bool
    eos_ids: tuple[int, ...]
    context: int | None
    vocabulary: int | None = None


def reader_of(name: str, config: Any, generation_config: Any, tokenizer: Any) -> Reader:
    """The reader of a model of which only the configuration need be loaded."""
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
    )


def examples(rows: Sequence[Mapping[str, Any]], reader: Any) -> list[dict[str, list[int]]]:
    """One {"input_ids", "labels"} per row {"prompt", "completion"}, as transformers' collators take them.

    Causal: prompt and answer in one sequence, the prompt's labels ignored. Encoder–decoder: the prompt, and the answer as labels. The
    ids of the prompt are those that sampling starts from, though the answer's first letters might have merged with its last ones.
    Raises PromptFileError naming the rows whose answer is missing, empty, or does not fit the context with its prompt.
    """
    problems: list[str] = []
    found = []
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
                f"label {number}: {excerpt(prompt)} has {len(ids)} tokens and its answer {len(answer_ids)}, and the context holds "
                f"{reader.context}: shorten the answer"
            )
        if reader.encoder_decoder:
            found.append({"input_ids": ids, "labels": answer_ids})
        else:
            found.append({"input_ids": ids + answer_ids, "labels": [IGNORED] * len(ids) + answer_ids})
    if problems:
        more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        head = f"{len(problems)} of {len(rows)} labels cannot be learnt by {reader.name}"
        raise PromptFileError("\n  ".join([head, *problems[:_SHOWN], *more]))
    return found


def answer_tokens(reader: Any, prompt: PromptText, answer: str) -> list[int]:
    """The ids that the policy would have drawn for this answer, with an end token where it knows one."""
    tokenizer = reader.tokenizer
    if reader.encoder_decoder:
        ids = list(tokenizer(text_target=answer)["input_ids"])
    else:
        joined = _after(encode(reader, prompt), _joined(reader, prompt, answer))
        ids = joined or list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    for place, token in enumerate(ids):
        if token in reader.eos_ids:  # a template may go on after the end of the turn
            return ids[: place + 1]
    return ids + _end(reader)


def _joined(reader: Any, prompt: PromptText, answer: str) -> list[int]:
    if isinstance(prompt, str):
        return list(reader.tokenizer(prompt + answer)["input_ids"])
    messages = [*(dict(message) for message in prompt), {"role": "assistant", "content": answer}]
    return chat_ids(reader.tokenizer, messages, excerpt(prompt), reader.name, open_turn=False)


def _after(prompt: list[int], whole: list[int]) -> list[int]:
    """What follows the prompt; nothing where the prompt's ids are not the first ones."""
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else []


def _end(reader: Any) -> list[int]:
    own = reader.tokenizer.eos_token_id
    if own in reader.eos_ids:
        return [own]
    return [reader.eos_ids[0]] if reader.eos_ids else []


def with_end(reader: Any, prompt: PromptText, completion: Completion) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids) of a completion that was drawn, with the end token that ended it."""
    ids = list(completion.token_ids)
    return encode(reader, prompt), ids if completion.truncated else ids + _end(reader)


def pairs(rows: Sequence[Mapping[str, Any]], reader: Any) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of labelled rows."""
    return [(encode(reader, row["prompt"]), answer_tokens(reader, row["prompt"], row["completion"])) for row in rows]
