"""The reward of the tasks with partial credit, for tools that call rewards themselves."""

from __future__ import annotations

from collections.abc import Sequence


def letters_in_place(prompts: Sequence[str], completions: Sequence[str], *, reference: Sequence[str], **_: object) -> list[float]:
    """The share of the answer's letters that stand in their place.

    >>> letters_in_place(["spell:abc="], ["aba"], reference=["abc"])
    [0.6666666666666666]
    """
    return [
        sum(a == b for a, b in zip(answer, text, strict=False)) / len(answer) for answer, text in zip(reference, completions, strict=True)
    ]


letters_in_place.reward_range = (0.0, 1.0)  # type: ignore[attr-defined]  # what flatspot reads of a function
