"""What is sent to a server and what comes back: the fields of a request, and the completion in a reply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flatspot.core.plain import Json
from flatspot.core.records import Message, Sampling
from flatspot.core.seeds import fold_seed

SEED_BITS = 31  # what every server takes
_ROUNDING = 0.01  # by which a probability may exceed 1
_LARGEST = 1.7e308
NEVER_DROPPED = frozenset({"model", "prompt", "messages", "max_tokens", "temperature", "chat_template_kwargs"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as it is sent: its token ids, its text, or its messages."""

    ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Message, ...] | None = None

    @property
    def path(self) -> str:
        """Where it is posted."""
        return "/completions" if self.messages is None else "/chat/completions"

    def field(self) -> dict[str, Json]:
        """The field of the request that holds it."""
        if self.messages is not None:
            return {"messages": [dict(message) for message in self.messages]}
        return {"prompt": list(self.ids) if self.ids is not None else self.text}


@dataclass(frozen=True, slots=True)
class Answer:
    """The completion in a reply.

    finish     why it ended: "stop" at an end token, "length" at max_tokens
    n_tokens   as the server counts them, an end token included
    token_ids  where the server gives them
    first      the drawn first token, by `token_key`; None where the server gives no log-probabilities
    top        log-probabilities of the most probable first tokens
    """

    text: str
    finish: str
    n_tokens: int
    token_ids: tuple[int, ...] | None = None
    first: str | None = None
    top: Mapping[str, float] = field(default_factory=dict)


def request_body(
    model: str,
    asked: Asked,
    sampling: Sampling,
    seed: int,
    *,
    stop_ids: Sequence[int] = (),
    logprobs: int = 0,
    values: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """A request in which everything that shapes the distribution is said: a server fills in defaults of its own for what is not.

    One completion, never `n`, which some servers ignore. The seed is folded to 31 bits.

    stop_ids  end tokens, where they are known
    logprobs  how many of the most probable first tokens to give; 0: none
    values    for the chat template, which the server applies to messages
    """
    body: dict[str, Json] = {
        "model": model,
        **asked.field(),
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,  # vLLM, SGLang
        "repeat_penalty": 1.0,  # llama.cpp
        "seed": fold_seed(seed, SEED_BITS),
        "stream": False,
        "return_token_ids": True,  # vLLM
    }
    if stop_ids:
        body["stop_token_ids"] = list(stop_ids)
    if values and asked.messages is not None:
        body["chat_template_kwargs"] = dict(values)
    if logprobs:
        body |= {"logprobs": logprobs} if asked.messages is None else {"logprobs": True, "top_logprobs": logprobs}
        body["return_tokens_as_token_ids"] = True
    return body


def needed(sampling: Sampling) -> frozenset[str]:
    """The fields that a server must take for this sampling: those that it may reject only repeat what is so without them."""
    return NEVER_DROPPED | ({"top_p"} if sampling.top_p < 1 else set()) | ({"top_k"} if sampling.top_k else set())


class NoCompletion(Exception):
    """A reply with status 200 that holds no completion."""


def read_answer(content: object) -> Answer:
    """The completion in a reply, of /completions or /chat/completions; raises NoCompletion saying what it holds in its place."""
    choices = content.get("choices") if isinstance(content, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        held = f"{len(choices)} choices" if isinstance(choices, list) else "no choices"
        raise NoCompletion(f"its reply has {held}, expected one")
    choice = choices[0]
    message = choice.get("message")
    if isinstance(message, Mapping) and (message.get("reasoning_content") or message.get("reasoning")):
        raise NoCompletion(
            "it splits the reasoning off the answer, which is one text to a trainer: start it without a reasoning parser, or give the "
            "policy's folder as --model"
        )
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    finish: Any = choice.get("finish_reason")
    if not isinstance(text, str) and not (text is None and finish == "stop" and isinstance(message, Mapping)):
        raise NoCompletion(f"its reply has no text, and ended for the reason {_short(finish)}")
    if finish not in ("stop", "length"):
        raise NoCompletion(f"its completion ended for the reason {_short(finish)}, expected stop or length")
    first, top = _first_token(choice.get("logprobs"))
    usage = content.get("usage") if isinstance(content, Mapping) else None
    count: Any = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    if not _is_whole(count):
        raise NoCompletion("its reply does not count tokens (usage.completion_tokens)")
    return Answer(text=text or "", finish=finish, n_tokens=count, token_ids=_ids(choice.get("token_ids")), first=first, top=top)


def check_fits(answer: Answer, max_new_tokens: int) -> Answer:
    """The answer, where it is one to a request for at most so many tokens; raises NoCompletion where it cannot be."""
    n, limit = answer.n_tokens, max_new_tokens
    if not 0 <= n <= limit or (n == 0 and answer.text):
        raise NoCompletion(f"its reply counts {_short(n)} tokens (usage.completion_tokens), and max_tokens is {limit}")
    if answer.finish == "length" and n < limit:
        raise NoCompletion(
            f"it cut the completion at {n} tokens, and max_tokens is {limit}: a limit of its own, or of its context. Raise it, or lower "
            "--max-new-tokens"
        )
    if answer.token_ids is not None and abs(len(answer.token_ids) - n) > 1:  # some leave the end token out of one of the two
        raise NoCompletion(f"its reply counts {n} tokens and holds the ids of {len(answer.token_ids)}")
    return answer


def token_key(token: object, number: object = None) -> str:
    """A token's name: `#id` where the id is known, else its text.

    >>> token_key("token_id:5"), token_key(" a", 7), token_key(" a")
    ('#5', '#7', ' a')
    """
    if _is_whole(number):
        return f"#{number}"
    text = token if isinstance(token, str) else _short(token)
    return f"#{text.removeprefix('token_id:')}" if text.startswith("token_id:") else text


def _first_token(logprobs: object) -> tuple[str | None, dict[str, float]]:
    """(the first token, the most probable ones), in either of the two shapes that servers give them in."""
    first, top = _first_entry(logprobs)
    kept = {token: min(float(p), 0.0) for token, p in top if _is_number(p) and p <= _ROUNDING}
    if top and not 0 < math.fsum(math.exp(p) for p in kept.values()) <= 1 + _ROUNDING * len(kept):
        raise NoCompletion("what its reply gives as log-probabilities of the first token is no distribution")
    return first, kept


def _first_entry(logprobs: object) -> tuple[str | None, list[tuple[str, Any]]]:
    if not isinstance(logprobs, Mapping):
        return None, []
    if isinstance(content := logprobs.get("content"), list) and content and isinstance(content[0], Mapping):
        top = content[0].get("top_logprobs")
        entries = [one for one in top if isinstance(one, Mapping)] if isinstance(top, list) else []
        return _key_of(content[0]), [(_key_of(one), one.get("logprob")) for one in entries]
    tokens, tops = logprobs.get("tokens"), logprobs.get("top_logprobs")
    if isinstance(tokens, list) and tokens and isinstance(tops, list) and tops and isinstance(tops[0], Mapping):
        return token_key(tokens[0]), [(token_key(token), p) for token, p in tops[0].items()]
    return None, []


def _key_of(entry: Mapping[str, object]) -> str:
    return token_key(entry.get("token"), entry.get("id"))


def _ids(value: object) -> tuple[int, ...] | None:
    """Token ids where a server gives them; NoCompletion where they can be none."""
    if not isinstance(value, list):
        return None
    if not all(_is_whole(i) and 0 <= i < 2**31 for i in value):
        raise NoCompletion("its reply has token ids that are none")
    return tuple(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """A finite number; JSON also holds whole ones beyond what a float can."""
    return (_is_whole(value) or isinstance(value, float)) and -_LARGEST <= value <= _LARGEST  # type: ignore[operator]


def _short(value: object) -> str:
    """A value for a message."""
    text = repr(value) if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"
