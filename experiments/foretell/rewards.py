"""The graded reward of letters: the share that stand in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def letters_in_place(completions: Sequence[str], reference: Sequence[str], **columns: Any) -> list[float]:
    """Equal letters at equal places, over the length of the longer of the two texts.

    >>> letters_in_place(["abd", "abcd", "", "abc"], ["abc"] * 4)
    [0.6666666666666666, 0.75, 0.0, 1.0]
    """
    return [
        sum(a == b for a, b in zip(text, right, strict=False)) / max(len(text), len(right), 1)
        for text, right in zip(completions, reference, strict=True)
    ]
