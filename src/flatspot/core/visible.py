"""A stranger's text, made fit for a terminal or a page."""

from __future__ import annotations

import re

# C0 and C1 controls except tab and newline; bidirectional embeddings, overrides and isolates; lone surrogates. Shown as they are, the
# first can drive a terminal or end an HTML parse, the second can reorder the page around them, the third cannot be written as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text with every control, direction override and lone surrogate replaced by a visible stand-in.

    >>> visible("a\x00b\x1b[31m")
    'a␀b␛[31m'
    >>> visible("\u202etxt")
    '⟦U+202E⟧txt'
    """
    return _UNPRINTABLE.sub(_stand_in, text.replace("\r\n", "\n"))


def _stand_in(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"⟦U+{code:04X}⟧"
