"""Chat messages → token ids by the policy's chat template, which is third-party code: it may reject messages, fail, drop text or loop."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flatspot.core.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

LIMIT_S = 30.0  # a template takes about a millisecond; only one that loops reaches this
_REASON = 200


class _Stopped(BaseException):
    """Raised in the thread of a template that took too long."""


def chat_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, object]],
    prompt: str,
    model: str,
    *,
    open_turn: bool = True,
    values: Mapping[str, Any] | None = None,
) -> list[int]:
    """Token ids of messages through the tokenizer's template.

    prompt, model  the names of the prompt and of the policy, for error messages
    open_turn      whether the assistant's turn is opened after the messages
    values         further variables of the template

    Raises EngineError if the template rejects the messages, fails on them, does not end, or omits the text of a system message.
    """

    def ids_of(some: Sequence[Mapping[str, object]]) -> list[int]:
        copies = [dict(message) for message in some]
        encoded = tokenizer.apply_chat_template(copies, add_generation_prompt=open_turn, tokenize=True, return_dict=True, **(values or {}))
        return list(encoded["input_ids"])

    def text_of(some: Sequence[Mapping[str, object]]) -> object:
        copies = [dict(message) for message in some]
        return tokenizer.apply_chat_template(copies, add_generation_prompt=open_turn, tokenize=False, **(values or {}))

    system = [m for m in messages if m.get("role") == "system"]
    others = [m for m in messages if m.get("role") != "system"]
    try:
        ids = within(LIMIT_S, lambda: ids_of(messages))
        lacks_system = bool(system) and _lacks(within(LIMIT_S, lambda: text_of(messages)), system)
    except TimeoutError as error:
        raise EngineError(
            f"the chat template of {model} did not end within {LIMIT_S:g} s on the prompt {prompt}: it loops. Fix its chat_template.jinja, "
            "or use prompts in plain text"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # only the template and the tokenizer run here
        if system and others and _passes(lambda: ids_of(others)):
            raise _no_system_role(prompt, model, f"rejects it: {_reason(error)}") from error
        roles = ", ".join(str(message.get("role")) for message in messages)
        given = "Give other --chat-template-kwargs, write" if values else "Write"
        raise EngineError(
            f"the chat template of {model} fails on the prompt {prompt}, whose roles are {roles}: {_reason(error)}. {given} the messages "
            "as this template expects them, use prompts in plain text, or fix its chat_template.jinja"
        ) from error
    if lacks_system:
        raise _no_system_role(prompt, model, "omits its text")
    return ids


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work()`; TimeoutError if it takes longer than this many seconds, and its thread is then stopped.

    Stops a loop, but not a single operation that holds the interpreter's lock (one huge integer to the power of another): that would
    take a separate process, and this runs for every prompt.

    >>> within(1.0, lambda: 2 + 2)
    4
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True, name="chat template")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stopped))
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]


def _no_system_role(prompt: str, model: str, what: str) -> EngineError:
    return EngineError(
        f"the prompt {prompt} has a system message, and the chat template of {model} {what}. Put the system text at the start of the first "
        "user message, both in the prompts and in the RL run"
    )


def _lacks(text: object, system: Sequence[Mapping[str, object]]) -> bool:
    """Whether the text of a system message is not in the rendered text."""
    if not isinstance(text, str):
        return False
    words = "".join(text.split())
    return any("".join(content.split()) not in words for m in system if isinstance(content := m.get("content"), str))


def _passes(work: Callable[[], object]) -> bool:
    try:
        within(LIMIT_S, work)
    except Exception:
        return False
    return True


def _reason(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0][:_REASON].rstrip(".")
    return text if type(error).__name__ == "TemplateError" else f"{type(error).__name__}: {text}"
