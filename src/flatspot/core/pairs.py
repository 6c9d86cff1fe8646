"""`key=value,key=value`, as it stands between the brackets of a reward or of a named data set."""

from __future__ import annotations

import re

_KEY = re.compile(r"\s*[A-Za-z_]\w*\s*=")


def read_pairs(text: str) -> dict[str, str]:
    r"""The values by key, as text, in the order written.

    A comma ends a value only where another `key=` follows it, outside double quotes: a pattern or a list may hold commas of its own.
    Raises `ValueError` saying which part is no pair, or which key comes twice.

    >>> read_pairs(r"pattern=\d{1,3},ignore_case=true")
    {'pattern': '\\d{1,3}', 'ignore_case': 'true'}
    >>> read_pairs('words=["a, b=c",2],size=3')
    {'words': '["a, b=c",2]', 'size': '3'}
    """
    pairs: dict[str, str] = {}
    for part in _parts(text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"expected key=value between the brackets, got {part!r}")
        if key.strip() in pairs:
            raise ValueError(f"{key.strip()!r} is given twice")
        pairs[key.strip()] = value
    return pairs


def _parts(text: str) -> list[str]:
    parts, start, quoted = [], 0, False
    balanced = text.count('"') % 2 == 0  # a lone quote opens nothing
    for i, character in enumerate(text):
        quoted ^= balanced and character == '"'
        if character == "," and not quoted and _KEY.match(text, i + 1):
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]] if text.strip() else []
