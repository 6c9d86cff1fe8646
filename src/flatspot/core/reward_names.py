"""The rewards of a run by name, as its settings hold them."""

from __future__ import annotations

from collections.abc import Mapping


def rewards_named(shown: Mapping[str, object]) -> list[str]:
    """The rewards that a run's settings name, one by one; runs of version 0.1.0 joined them by commas.

    >>> rewards_named({"reward": ["a.py:f"]}), rewards_named({"reward": r'regex[pattern="yes, (\\d)"], a.py:f'}), rewards_named({})
    (['a.py:f'], ['regex[pattern="yes, (\\\\d)"]', 'a.py:f'], [])
    """
    names = shown.get("reward")
    if isinstance(names, list | tuple):
        return [str(name) for name in names]
    return split_rewards(names, ", ") if isinstance(names, str) and names else []


def split_rewards(text: str, separator: str) -> list[str]:
    """The rewards of a text, at the separators that stand outside of brackets: what is inside them is of one reward.

    >>> split_rewards(r"a.py:f regex[pattern=the answer] exact_match", " ")
    ['a.py:f', 'regex[pattern=the answer]', 'exact_match']
    """
    names, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth <= 0 and i >= start and text.startswith(separator, i):
            names.append(text[start:i])
            start = i + len(separator)
    return [name for name in (*names, text[start:]) if name.strip()]
