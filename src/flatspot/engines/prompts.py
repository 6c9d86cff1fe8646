"""Prompt → token ids, with the policy's tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.records import Completion, PromptRequest, PromptText, Sampling
from flatspot.engines.notes import note_misfit
from flatspot.engines.policy import Policy
from flatspot.engines.templates import chat_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoder(Protocol):
    """The facts about a policy that encoding needs; `Policy` has them, and so can a model that is not loaded yet."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of transformers."""

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens; None if unknown."""

    @property
    def encoder_decoder(self) -> bool:
        """Whether the model has an encoder."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a completion."""

    @property
    def context(self) -> int | None:
        """Maximum tokens of prompt and completion together; None if unlimited."""

    @property
    def template_kwargs(self) -> Mapping[str, Json]:
        """Values that the chat template gets."""


def encode(policy: Encoder, text: PromptText) -> list[int]:
    """Token ids of a prompt: messages through the chat template, with the assistant's turn opened; text unchanged.

    Raises EngineError if messages meet a tokenizer without a chat template or with one that fails on them, if the prompt has no tokens, or
    if it has tokens outside the policy's vocabulary.
    """
    tokenizer = policy.tokenizer
    if isinstance(text, str):
        ids = tokenizer(text)["input_ids"]
    elif getattr(tokenizer, "chat_template", None) is None:
        raise EngineError(f"the prompt {excerpt(text)} is chat messages, and {no_template(policy.name)}")
    else:
        ids = chat_ids(tokenizer, text, excerpt(text), policy.name, values=policy.template_kwargs)
    if not ids:
        raise EngineError(f"the prompt {excerpt(text)} has no tokens, and a policy needs at least one to continue from")
    vocabulary = policy.vocabulary
    if vocabulary is not None and max(ids) >= vocabulary:
        raise EngineError(
            f"the prompt {excerpt(text)} has the token {max(ids)}, and the vocabulary of {policy.name} ends at {vocabulary - 1}: its "
            "tokenizer belongs to another model. Copy the tokenizer files of the base model"
        )
    return list(ids)


def no_template(name: str) -> str:
    """What a message says of chat prompts and a tokenizer that has no chat template."""
    return (
        f"the tokenizer of {name} has no chat template. Use prompts in plain text, or set tokenizer.chat_template (a chat_template.jinja "
        "file beside tokenizer.json)"
    )


def check_fits(policy: Policy, text: PromptText, ids: list[int], sampling: Sampling) -> None:
    """Raise EngineError if prompt and completion together exceed the policy's context."""
    if (problem := misfit(policy, text, ids, sampling)) is not None:
        raise EngineError(problem)


def misfit(policy: Policy, text: PromptText, ids: Sequence[int], sampling: Sampling) -> str | None:
    """Why prompt and completion together exceed the policy's context; None where they fit. Nothing is truncated silently.

    In an encoder–decoder they are separate sequences, so each is compared with the context.
    Raises EngineError where no prompt can fit.
    """
    if policy.context is None:
        return None
    if sampling.max_new_tokens >= policy.context + policy.encoder_decoder:
        raise EngineError(
            f"--max-new-tokens {sampling.max_new_tokens} leaves no room for a prompt in the context of {policy.name}, "
            f"{policy.context} tokens: lower it"
        )
    if policy.encoder_decoder:
        need, what = max(len(ids), sampling.max_new_tokens), f"{len(ids)} tokens of prompt, or max_new_tokens = {sampling.max_new_tokens},"
    else:
        need, what = len(ids) + sampling.max_new_tokens, f"{len(ids)} tokens of prompt and max_new_tokens = {sampling.max_new_tokens}"
    if need <= policy.context:
        return None
    return (
        f"the prompt {excerpt(text)} does not fit: {what} exceed the context of {policy.name}, {policy.context} tokens. Shorten the "
        "prompt or lower --max-new-tokens"
    )


def encode_requests(
    policy: Policy, requests: Sequence[PromptRequest], sampling: Sampling, notes: list[str]
) -> tuple[dict[int, list[int]], dict[int, str]]:
    """(token ids of the requests that fit the context, why the others do not), by their places; the latter are noted."""
    encoded: dict[int, list[int]] = {}
    problems: dict[int, str] = {}
    for i, request in enumerate(requests):
        ids = encode(policy, request.text)
        if (problem := misfit(policy, request.text, ids, sampling)) is None:
            encoded[i] = ids
        else:
            problems[i] = problem
            note_misfit(notes, problem)
    return encoded, problems


def no_completion(reason: str) -> Completion:
    """What stands for a completion that cannot be drawn: its row has this error, and the rewards do not see it."""
    return Completion("", 0, truncated=False, error=reason)


def to_completion(policy: Policy, ids: list[int], limit: int, logprob: float | None = None) -> Completion:
    """The completion of sampled token ids: text without special tokens; `n_tokens` and `token_ids` without the end token.

    logprob  of all the ids, the end token included

    `truncated`: there are `limit` tokens and none of them is an end token.
    """
    ended = bool(ids) and ids[-1] in policy.eos_ids
    content = ids[:-1] if ended else ids
    text = policy.tokenizer.decode(content, skip_special_tokens=True)
    return Completion(text, len(content), truncated=not ended and len(ids) >= limit, token_ids=tuple(content), logprob=logprob)


def excerpt(text: PromptText) -> str:
    """The start of a prompt, quoted, to identify it in a message."""
    whole = text if isinstance(text, str) else " | ".join(str(message.get("content", "")) for message in text)
    return repr(whole if len(whole) <= 60 else whole[:60] + "…")
