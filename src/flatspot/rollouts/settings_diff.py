"""What differs between the settings of two runs, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping


def differences(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """Each setting that differs, as "name: OLD there, NEW now"; lists of equal length are compared item by item.

    >>> differences({"seed": 0, "sampling": {"top_p": 1.0}}, {"seed": 1, "sampling": {"top_p": 1.0}})
    ['seed: 0 there, 1 now']
    >>> differences({"components": [{"name": "a", "weight": 1.0}]}, {"components": [{"name": "a", "weight": 0.5}]})
    ['components.0.weight: 1.0 there, 0.5 now']
    """
    lines = []
    for key in sorted({*old, *new}):
        a, b = _by_place(old.get(key), new.get(key))
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {_short(a)} there, {_short(b)} now")
    return lines


def _by_place(a: object, b: object) -> tuple[object, object]:
    """Two lists of equal length as mappings from their places; anything else as it is."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return {str(i): item for i, item in enumerate(a)}, {str(i): item for i, item in enumerate(b)}
    return a, b


def _short(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
