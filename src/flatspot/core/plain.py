"""Values in JSON's own types, so that what is written can be read by any parser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, overload

JsonObject: TypeAlias = dict[str, Any]
"""An object read from JSON, or to be written: what its keys hold is checked where they are read."""
Json: TypeAlias = "str | int | float | Sequence[Json] | Mapping[str, Json] | None"
"""A JSON value, to read: lists are sequences and objects mappings, so that a `list[int]` is one."""


@overload
def plain(value: Mapping[str, object]) -> dict[str, Json]: ...


@overload
def plain(value: object) -> Json: ...


def plain(value: object) -> Json:
    """The value in JSON's own types: NaN and infinities are null, numpy's scalars are numbers, what has no JSON type becomes its text.

    >>> plain({"a": (1, float("nan")), 2: {True}})
    {'a': [1, None], '2': [True]}
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without importing numpy
        listed: object = value.tolist()
        return plain(listed)
    return str(value)
