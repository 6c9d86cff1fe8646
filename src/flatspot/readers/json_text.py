"""Where the values of JSON text start and end, so that each can be handed on as it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NoReturn

# numbers are checked, not made: a number of 5,000 digits is text here
_scan = json.JSONDecoder(parse_int=str, parse_float=str).scan_once  # type: ignore[attr-defined]
_space = re.compile(r"[ \t\n\r]*").match
_colon = re.compile(r"[ \t\n\r]*:[ \t\n\r]*").match
_open = re.compile(r'\{[ \t\n\r]*(?:"|(\}))').match
_more = re.compile(r'[ \t\n\r]*(?:,[ \t\n\r]*"|(\}))').match
_item = re.compile(r"[ \t\n\r]*(?:(,)[ \t\n\r]*|\])").match
_PAIRS = re.compile(  # escapes, of which an unpaired surrogate is the group
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_UNPAIRED = re.compile("[\ud800-\udfff]")
_STRING = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_SCALAR = rf"{_STRING}|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null|NaN|-?Infinity"

Members = dict[str, str]  # key → the text of its value


def members(text: str, at: int = 0) -> tuple[Members, int]:
    """The text of each value of the object that starts at `at`, and where the object ends.

    Raises `json.JSONDecodeError` where it is none, `KeyError` where a key is there twice.

    >>> members('{"id": 1.10, "text": "a"}')
    ({'id': '1.10', 'text': '"a"'}, 25)
    """
    pairs: Members = {}
    step = _open(text, at)
    if step is None:
        _refuse("Expecting property name enclosed in double quotes" if text[at : at + 1] == "{" else "Expecting an object", text, at + 1)
    while not step.group(1):
        key, at = scanstring(text, step.end(), True)
        step = _colon(text, at)
        if step is None:
            _refuse("Expecting ':' delimiter", text, at)
        at = step.end()
        end = _value_end(text, at)
        if key in pairs:
            raise KeyError(key)
        pairs[key] = text[at:end]
        step = _more(text, end)
        if step is None:
            _refuse("Expecting ',' delimiter", text, end)
    return pairs, step.end()


def only_members(text: str) -> Members:
    """As `members`, of text that holds one object and nothing after it."""
    pairs, end = members(text)
    if end != len(text):
        _refuse("Extra data", text, end)
    return pairs


def items(text: str, at: int = 0) -> Iterator[tuple[int, int]]:
    """Where each value of the list that starts at `at` starts and ends; raises `json.JSONDecodeError` where it is none.

    >>> [text[a:b] for text in ["[1, [2], {}]"] for a, b in items(text)]
    ['1', '[2]', '{}']
    """
    at = skip_space(text, at + 1)
    if text[at : at + 1] == "]":
        return
    while True:
        end = _value_end(text, at)
        yield at, end
        step = _item(text, end)
        if step is None:
            _refuse("Expecting ',' delimiter", text, end)
        if not step.group(1):
            return
        at = step.end()


def elements(text: str, at: int = 0) -> Iterator[tuple[int, int, Members | None]]:
    """As `items`, with the members of each value that is an object; nothing may stand after the list. Raises as `members` does.

    >>> list(elements('[{"a": 1}, 2]'))
    [(1, 9, {'a': '1'}), (11, 12, None)]
    """
    at = skip_space(text, at + 1)
    more = text[at : at + 1] != "]"
    end = at + 1
    while more:
        pairs, end = members(text, at) if text[at : at + 1] == "{" else (None, _value_end(text, at))
        yield at, end, pairs
        step = _item(text, end)
        if step is None:
            _refuse("Expecting ',' delimiter", text, end)
        more, at = step.group(1) is not None, step.end()
        end = at
        if more and text[at : at + 1] == "]":
            _refuse("Expecting value", text, at)
    if skip_space(text, end) != len(text):
        _refuse("Extra data", text, skip_space(text, end))


def skip_space(text: str, at: int) -> int:
    """The first place from `at` on that is no white space."""
    match = _space(text, at)
    return match.end() if match else at


@lru_cache(maxsize=64)  # thousands of files of a log have one
def line_pattern(keys: tuple[str, ...]) -> re.Pattern[str]:
    r"""What a line matches that is one object of these keys in this order, no value of which is a list or an object.

    >>> line_pattern(("a", "b")).findall('{"a": 1.50, "b": "x"}\n{"b": 1}\n{"a":null,"b":true}')
    [('1.50', '"x"'), ('null', 'true')]
    """
    pairs = ",[ \t]*".join(rf"{re.escape(json.dumps(key))}[ \t]*:[ \t]*({_SCALAR})[ \t]*" for key in keys)
    return re.compile(rf"^[ \t]*\{{[ \t]*{pairs}\}}[ \t\r]*$", re.MULTILINE)


def paired(pairs: Members) -> Members:
    """The members with U+FFFD for each unpaired surrogate, which UTF-8 has no bytes for."""
    return {_UNPAIRED.sub("\ufffd", key): _PAIRS.sub(lambda m: "\\ufffd" if m.group(1) else m.group(), raw) for key, raw in pairs.items()}


def _value_end(text: str, at: int) -> int:
    try:
        return int(_scan(text, at)[1])
    except StopIteration as stop:
        _refuse("Expecting value", text, int(stop.value))


def _refuse(why: str, text: str, at: int) -> NoReturn:
    raise json.JSONDecodeError(why, text, min(at, len(text)))
