"""What is sent to a server and what comes back: the fields of a request, and the completion in a reply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flatspot.core.plain import Json
from flatspot.core.records import Message, Sampling
from flatspot.core.seeds import fold_seed

SEED_BITS = 31  # what every server takes
NEVER_DROPPED = frozenset({"model", "prompt", "messages", "max_tokens", "temperature"})


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
) -> dict[str, Json]:
    """A request in which everything that shapes the distribution is said: a server fills in defaults of its own for what is not.

    One completion, never `n`, which some servers ignore. The seed is folded to 31 bits.

    stop_ids  end tokens, where they are known
    logprobs  how many of the most probable first tokens to give; 0: none
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
    finish = choice.get("finish_reason")
    if not isinstance(text, str) and not (text is None and finish == "stop" and isinstance(message, Mapping)):
        raise NoCompletion(f"its reply has no text, and ended for the reason {finish!r}")
    if finish not in ("stop", "length"):
        raise NoCompletion(f"its completion ended for the reason {finish!r}, expected stop or length")
    first, top = _first_token(choice.get("logprobs"))
    usage = content.get("usage") if isinstance(content, Mapping) else None
    count = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    if not isinstance(count, int):
        raise NoCompletion("its reply does not count tokens (usage.completion_tokens)")
    ids = choice.get("token_ids")
    return Answer(
        text=text or "",
        finish=finish,
        n_tokens=count,
        token_ids=tuple(ids) if isinstance(ids, list) and all(isinstance(i, int) for i in ids) else None,
        first=first,
        top=top,
    )


def token_key(token: object, number: object = None) -> str:
    """A token's name: `#id` where the id is known, else its text.

    >>> token_key("token_id:5"), token_key(" a", 7), token_key(" a")
    ('#5', '#7', ' a')
    """
    if isinstance(number, int):
        return f"#{number}"
    text = str(token)
    return f"#{text.removeprefix('token_id:')}" if text.startswith("token_id:") else text


def _first_token(logprobs: object) -> tuple[str | None, dict[str, float]]:
    """(the first token, the most probable ones), in either of the two shapes that servers give them in."""
    if not isinstance(logprobs, Mapping):
        return None, {}
    if isinstance(content := logprobs.get("content"), list) and content and isinstance(content[0], Mapping):
        entry = content[0]
        top = [one for one in entry.get("top_logprobs") or () if isinstance(one, Mapping)]
        return _key_of(entry), {_key_of(one): float(one["logprob"]) for one in top if _is_finite(one.get("logprob"))}
    tokens, tops = logprobs.get("tokens"), logprobs.get("top_logprobs")
    if isinstance(tokens, list) and tokens and isinstance(tops, list) and tops and isinstance(tops[0], Mapping):
        return token_key(tokens[0]), {token_key(token): float(p) for token, p in tops[0].items() if _is_finite(p)}
    return None, {}


def _key_of(entry: Mapping[str, object]) -> str:
    return token_key(entry.get("token"), entry.get("id"))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
