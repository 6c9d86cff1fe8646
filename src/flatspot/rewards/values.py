"""What a reward function may return, and what becomes of each value: a number, "does not apply", or the reason it is neither."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsFloat, cast

from flatspot.core.records import LARGEST_REWARD


@dataclass(frozen=True, slots=True)
class Value:
    """One function's word on one completion.

    number  a finite float; None where the function returned None (it does not apply to this row) or failed
    error   why there is no number; None where the function returned a number or None
    broken  whether the error is one that no other completion would fix: an import, the signature, the shape of the answer
    unanswered  whether the error is that the row has no right answer to compare with
    """

    number: float | None = None
    error: str | None = None
    broken: bool = False
    unanswered: bool = False


class NoAnswer(ValueError):
    """A row has no right answer, which a metric of ours compares with."""


def as_value(raw: object) -> Value:
    """One returned element as a `Value`: numbers, bools and one-element arrays or tensors count as numbers.

    NaN, infinities, numbers beyond ±`LARGEST_REWARD`, text and everything else become errors that say what came.

    >>> as_value(True).number, as_value(None) == Value()
    (1.0, True)
    >>> as_value("0.5").error
    "returned the text '0.5' where a number or None was expected"
    """
    if raw is None:
        return Value()
    if isinstance(raw, str | bytes):
        return Value(error=f"returned the text {_short(raw)} where a number or None was expected")
    if inspect.isawaitable(raw):
        getattr(raw, "close", lambda: None)()
        return Value(error="returned a coroutine where a number or None was expected: await it", broken=True)
    if isinstance(raw, Iterable) and not hasattr(raw, "item"):
        return Value(error=f"returned {_short(raw)} (a {type(raw).__name__}) where a number or None was expected")
    try:
        # numpy scalars and torch tensors give their Python number through .item()
        plain: object = raw.item() if hasattr(raw, "item") else raw
        number = math.nan if isinstance(plain, str | bytes) else float(cast(SupportsFloat, plain))
    except Exception:  # an array of several elements, a complex number, any object: all the same to us
        return Value(error=f"returned {_short(raw)} (a {type(raw).__name__}) where a number or None was expected")
    if not math.isfinite(number):
        return Value(error=f"returned {number}, which is not a finite number")
    if abs(number) > LARGEST_REWARD:
        return Value(error=f"returned {number:g}, larger than a reward can be ({LARGEST_REWARD:g})")
    return Value(number)


def as_values(raw: object, n_rows: int) -> list[Value]:
    """A whole call's answer as one `Value` per row; an answer of the wrong shape makes every row of the call an error.

    A column, [n, 1], is n numbers. A set has no order, so it is none.

    >>> [value.number for value in as_values([1, None], 2)]
    [1.0, None]
    >>> as_values(0.5, 2)[0].error
    'returned 0.5 (a float) where a list of 2 numbers was expected'
    """
    if hasattr(raw, "tolist") and not isinstance(raw, list):
        if tuple(getattr(raw, "shape", ())) == (n_rows, 1) and hasattr(raw, "reshape"):
            raw = raw.reshape(n_rows)
        raw = raw.tolist()  # a numpy array, a torch tensor or a pandas series
    if inspect.isroutine(raw):
        name = getattr(raw, "__qualname__", "one")
        return [Value(error=f"returned a function ({name}): give that as the reward, not what makes it", broken=True)] * n_rows
    if isinstance(raw, str | bytes | dict | set | frozenset) or not isinstance(raw, Iterable):
        what = "nothing" if raw is None else f"{_short(raw)} (a {type(raw).__name__})"
        return [Value(error=f"returned {what} where a list of {n_rows} numbers was expected", broken=True)] * n_rows
    items = list(raw)
    if len(items) != n_rows:
        return [Value(error=f"returned {len(items)} values for {n_rows} completions", broken=True)] * n_rows
    return [as_value(item) for item in items]


def is_broken(error: str) -> bool:
    """Whether an exception is one that no other completion would fix.

    >>> is_broken("ModuleNotFoundError: No module named 'math_verify'"), is_broken("ValueError: empty")
    (True, False)
    """
    return error.partition(":")[0] in ("ImportError", "ModuleNotFoundError")


def describe_exception(error: BaseException) -> str:
    """An exception in one line: its type and the first line of its message, cut at 300 characters."""
    lines = str(error).strip().splitlines()
    message = lines[0][:300] if lines else ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _short(raw: object) -> str:
    try:
        text = " ".join(repr(raw).split())
    except Exception:
        return "an object that cannot be shown"
    return text if len(text) <= 60 else text[:57] + "..."
