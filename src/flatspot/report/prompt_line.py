"""A prompt on one line of a terminal: what was asked last, not the JSON of its messages."""

from __future__ import annotations

import json

from flatspot.report.formats import visible


def prompt_line(text: str, is_chat: bool, room: int, fallback: str = "") -> str:
    """The prompt as stored, on one line of at most `room` columns: of a chat, the last message of the user.

    >>> prompt_line('[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is\\\\n2 + 2?"}]', True, 40)
    'What is 2 + 2?'
    """
    words = (asked_last(text) if is_chat else text).split(maxsplit=room)[:room]  # of a long text, no more than fit
    line = visible(" ".join(words)[: room + 1]) or visible(fallback)
    return line if len(line) <= room else line[: room - 1] + "…"


def asked_last(text: str) -> str:
    """Of chat messages as a JSON list, the text of the last one of the user, else of the last one; anything else as it came."""
    try:
        messages = json.loads(text)
        texts = [_content(message.get("content")) for message in messages if message.get("role") == "user"]
        return (texts or [_content(message.get("content")) for message in messages])[-1]
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError):
        return text


def _content(content: object) -> str:
    """A message's text; of parts, their texts."""
    if isinstance(content, list):
        return " ".join(
            str(part.get("text") or f"[{part.get('type', 'part')}]") if isinstance(part, dict) else str(part) for part in content
        )
    return "" if content is None else str(content)
