"""Chat messages → token ids by the policy's own template, which is a program of somebody else's: it may refuse, fail, drop text or loop."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flatspot.core.errors import EngineError

LIMIT_S = 30.0  # a template takes about a millisecond; this only ends one that loops
_REASON = 200


class _Stopped(BaseException):
    """Raised in the thread of a template that took too long."""


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, Any]], named: str, model: str, *, turn_opened: bool = True) -> list[int]:
    """Token ids of messages through the tokenizer's template.

    named        the prompt, and `model`, the policy, as a message calls them
    turn_opened  whether the assistant's turn is opened behind them

    Raises EngineError where the template refuses the messages, fails on them, does not end, or leaves out the text of a system message.
    """

    def render(these: Sequence[Mapping[str, Any]], tokenize: bool) -> Any:
        own = [dict(message) for message in these]
        return tokenizer.apply_chat_template(
            own, add_generation_prompt=turn_opened, tokenize=tokenize, **({"return_dict": True} if tokenize else {})
        )

    system = [m for m in messages if m.get("role") == "system"]
    others = [m for m in messages if m.get("role") != "system"]
    try:
        ids = list(within(LIMIT_S, lambda: render(messages, True))["input_ids"])
        lost = system and _is_lost(system, within(LIMIT_S, lambda: render(messages, False)))
    except TimeoutError as error:
        raise EngineError(
            f"the chat template of {model} did not end within {LIMIT_S:g} s on the prompt {named}: it loops. Mend its chat_template.jinja, "
            "or give the prompts as plain text"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # only the template and the tokenizer run here
        if system and others and _passes(lambda: render(others, True)):
            raise _no_system_role(named, model, f"refuses it: {_reason(error)}") from error
        roles = ", ".join(str(message.get("role")) for message in messages)
        raise EngineError(
            f"the chat template of {model} fails on the prompt {named}, whose roles are {roles}: {_reason(error)}. Write the messages as "
            "this template takes them, give the prompts as plain text, or mend its chat_template.jinja"
        ) from error
    if lost:
        raise _no_system_role(named, model, "leaves its text out")
    return ids


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work()` returns or raises; TimeoutError after so many seconds, and its thread is then told to stop.

    A loop is ended; one operation that holds the interpreter's lock (a huge number to the power of another) is not: that takes a process
    of its own, and this runs for every prompt.

    >>> within(1.0, lambda: 2 + 2)
    4
    """
    done: list[Any] = []
    failed: list[BaseException] = []

    def target() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=target, daemon=True, name="chat template")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stopped))
        raise TimeoutError
    if failed:
        raise failed[0]
    return done[0]


def _no_system_role(named: str, model: str, what: str) -> EngineError:
    return EngineError(
        f"the prompt {named} has a system message, and the chat template of {model} {what}. Put the system text at the head of the first "
        "user message, in the prompts and in the RL run alike"
    )


def _is_lost(system: Sequence[Mapping[str, Any]], text: Any) -> bool:
    """Whether the text of a system message is not in what the template made."""
    if not isinstance(text, str):
        return False
    words = "".join(text.split())
    return any("".join(content.split()) not in words for m in system if isinstance(content := m.get("content"), str))


def _passes(work: Callable[[], Any]) -> bool:
    try:
        within(LIMIT_S, work)
    except Exception:
        return False
    return True


def _reason(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0][:_REASON].rstrip(".")
    return text if type(error).__name__ == "TemplateError" else f"{type(error).__name__}: {text}"
