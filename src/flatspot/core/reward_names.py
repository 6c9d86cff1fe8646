"""The rewards of a run by name, as its settings hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rewards_named(shown: Mapping[str, Any]) -> list[str]:
    """The rewards that a run's settings name, one by one; runs of version 0.1.0 joined them by commas.

    >>> rewards_named({"reward": ["a.py:f"]}), rewards_named({"reward": r'regex[pattern="yes, (\\d)"], a.py:f'}), rewards_named({})
    (['a.py:f'], ['regex[pattern="yes, (\\\\d)"]', 'a.py:f'], [])
    """
    found = shown.get("reward")
    if isinstance(found, list | tuple):
        return [str(name) for name in found]
    return _split(found) if isinstance(found, str) and found else []


def _split(joined: str) -> list[str]:
    """Names at the commas that stand outside of brackets."""
    names, depth, start = [], 0, 0
    for i, letter in enumerate(joined):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth <= 0 and joined.startswith(", ", i):
            names.append(joined[start:i])
            start = i + 2
    return [*names, joined[start:]]
