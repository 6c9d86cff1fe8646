"""Prompt → token ids, with the policy's own tokenizer and chat template."""

from __future__ import annotations

from flatspot.core.errors import EngineError
from flatspot.core.records import Completion, PromptText, Sampling
from flatspot.engines.policy import Policy
from flatspot.engines.templates import chat_ids


def encode(policy: Policy, text: PromptText) -> list[int]:
    """Token ids of a prompt: messages through the chat template, with the assistant's turn opened; text as it stands.

    Raises EngineError if messages meet a tokenizer without a chat template or one that does not take them, or the prompt has no tokens, or
    tokens that the policy does not have.
    """
    tokenizer = policy.tokenizer
    if isinstance(text, str):
        ids = tokenizer(text)["input_ids"]
    elif getattr(tokenizer, "chat_template", None) is None:
        raise EngineError(
            f"the prompt {shown(text)} is chat messages, and the tokenizer of {policy.name} has no chat template. Give the prompts as "
            "plain text, or set tokenizer.chat_template (a chat_template.jinja file beside tokenizer.json)"
        )
    else:
        ids = chat_ids(tokenizer, text, shown(text), policy.name)
    if not ids:
        raise EngineError(f"the prompt {shown(text)} has no tokens, and a policy needs at least one to continue from")
    vocabulary = policy.vocabulary
    if vocabulary is not None and max(ids) >= vocabulary:
        raise EngineError(
            f"the prompt {shown(text)} has the token {max(ids)}, and the vocabulary of {policy.name} ends at {vocabulary - 1}: its "
            "tokenizer is another model's. Copy the tokenizer files of the model that this one was trained from"
        )
    return list(ids)


def check_fits(policy: Policy, text: PromptText, ids: list[int], sampling: Sampling) -> None:
    """Raise EngineError if prompt and completion do not fit the policy's context together; nothing is ever cut silently.

    An encoder–decoder holds them apart, so each is compared with the context alone.
    """
    if policy.context is None:
        return
    if policy.encoder_decoder:
        need, what = max(len(ids), sampling.max_new_tokens), f"{len(ids)} tokens of prompt, or max_new_tokens = {sampling.max_new_tokens},"
    else:
        need, what = len(ids) + sampling.max_new_tokens, f"{len(ids)} tokens of prompt and max_new_tokens = {sampling.max_new_tokens}"
    if need > policy.context:
        raise EngineError(
            f"the prompt {shown(text)} does not fit: {what} exceed the {policy.context} tokens of context of {policy.name}. Shorten the "
            "prompt or lower --max-new-tokens"
        )


def to_completion(policy: Policy, ids: list[int], limit: int) -> Completion:
    """The completion of the token ids drawn: text without special tokens; `n_tokens` and `token_ids` without the end token.

    `truncated` means that `limit` tokens came and none of them ended the completion.
    """
    ended = bool(ids) and ids[-1] in policy.eos_ids
    kept = ids[:-1] if ended else ids
    text = policy.tokenizer.decode(kept, skip_special_tokens=True)
    return Completion(text, len(kept), truncated=not ended and len(ids) >= limit, token_ids=tuple(kept))


def shown(text: PromptText) -> str:
    """The start of a prompt, quoted, to name it in a message."""
    whole = text if isinstance(text, str) else " | ".join(str(message.get("content", "")) for message in text)
    return repr(whole if len(whole) <= 60 else whole[:60] + "…")
