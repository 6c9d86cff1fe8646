"""The reward of the task brackets: half for the brackets, half for what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def brackets(completions: Sequence[str], reference: Sequence[str], **columns: Any) -> list[float]:
    """0.5 for one pair of brackets around the whole answer, and 0.5 for the right letters, with or without brackets."""
    return [0.5 * _framed(text) + 0.5 * (text.strip("[]") == right.strip("[]")) for text, right in zip(completions, reference, strict=True)]


def _framed(text: str) -> bool:
    return len(text) > 2 and text[0] == "[" and text[-1] == "]" and text.count("[") == 1 and text.count("]") == 1
