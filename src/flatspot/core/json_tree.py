"""A tree of dataclasses as JSON, and back; each field is annotated with what it means, so that the reference page can be generated."""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from dataclasses import fields as dataclass_fields
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeGuard, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from flatspot.core.plain import Json, plain

T = TypeVar("T")


class Key(str):
    """The name of a field in JSON, where it is no Python name."""


class JsonField(NamedTuple):
    """A field of a dataclass: its name in Python, its type, what it means, and whether its JSON must hold it: it has no default."""

    name: str
    kind: object
    meaning: str
    required: bool


_FIELDS: dict[type[object], dict[str, JsonField]] = {}  # of each dataclass, read once


def json_fields(kind: type[object]) -> dict[str, JsonField]:
    """The fields of a dataclass by their names in JSON, in order.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Stds:
    ...     below_1: Annotated[float, "share under 0.01", Key("share_below_0.01")]
    >>> json_fields(Stds)["share_below_0.01"].meaning
    'share under 0.01'
    """
    if kind not in _FIELDS:
        _FIELDS[kind] = _annotated_fields(kind)
    return _FIELDS[kind]


def _annotated_fields(kind: type[Any]) -> dict[str, JsonField]:
    fields = {}
    required = {field.name for field in dataclass_fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        key = next((str(note) for note in notes if isinstance(note, Key)), name)
        meaning = next((str(note) for note in notes if not isinstance(note, Key)), "")
        fields[key] = JsonField(name, get_args(hint)[0] if notes else hint, meaning, name in required)
    return fields


def tree_to_json(value: object) -> Json:
    """The value in JSON's own types; a dataclass with a `to_json` of its own is written by that."""
    if hasattr(value, "to_json"):
        return cast(Json, value.to_json())
    if is_dataclass(value) and not isinstance(value, type):
        return fields_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): tree_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tree_to_json(item) for item in value]
    return plain(value)


def fields_to_json(value: object) -> dict[str, Json]:
    """The fields of a dataclass as a JSON object."""
    return {key: tree_to_json(getattr(value, field.name)) for key, field in json_fields(value.__class__).items()}


def fields_from_json(kind: type[T], values: Mapping[str, object]) -> T:
    """A dataclass from its JSON object; a key that is missing keeps its default, one that is unknown is left out.

    Raises KeyError for a missing key without a default, TypeError or ValueError where the JSON is of another shape; `damage` words them.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Share:
    ...     mean: float | None = None
    >>> fields_from_json(Share, {"mean": 0.5, "added_later": 1}), fields_from_json(Share, {})
    (Share(mean=0.5), Share(mean=None))
    >>> fields_from_json(Share, {"mean": "half"})
    Traceback (most recent call last):
        ...
    TypeError: mean is 'half'
    """
    fields = json_fields(kind)
    for key, field in fields.items():
        if field.required and key not in values:
            raise KeyError(key)
    return kind(**{field.name: tree_from_json(field, values[key]) for key, field in fields.items() if key in values})


def damage(error: Exception) -> str:
    """What is wrong with a JSON object, from the error of reading it.

    >>> damage(KeyError("seed")), damage(TypeError("seed is 'x'"))
    ("it has no 'seed'", "seed is 'x'")
    """
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def tree_from_json(field: JsonField, value: object) -> object:
    """The value of a field from its JSON."""
    kind = field.kind
    inner = dataclass_in(kind)
    if inner is None or value is None:
        if not _fits(value, kind):
            raise TypeError(f"{field.name} is {value!r:.80}")
        return tuple(value) if isinstance(value, list) else value
    if get_origin(kind) is tuple and isinstance(value, Sequence):
        return tuple(_object_from_json(inner, item) for item in value)
    if (origin := get_origin(kind)) is not None and origin not in (Union, UnionType) and isinstance(value, Mapping):
        return {str(key): _part_from_json(kind, inner, item) for key, item in value.items()}
    return _object_from_json(inner, value)


def _part_from_json(kind: object, inner: type[object], value: object) -> object:
    """A value of a mapping: a dataclass, or a list of them."""
    if get_origin(get_args(kind)[1]) is tuple and isinstance(value, Sequence):
        return tuple(_object_from_json(inner, item) for item in value)
    return _object_from_json(inner, value)


def _object_from_json(kind: type[object], value: object) -> object:
    if not isinstance(value, Mapping):
        raise TypeError(f"{kind.__name__} is an object, got {value!r:.80}")
    return kind.from_json(value) if hasattr(kind, "from_json") else fields_from_json(kind, value)


def dataclass_in(kind: object) -> type[object] | None:
    """The dataclass that a type is, or holds: of `Share`, `Share | None`, `tuple[Share, ...]` and `Mapping[str, Share]`; None in others."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind
    return next((part for part in map(dataclass_in, get_args(kind)) if part is not None), None)


def _items_fit(values: Sequence[object], kinds: tuple[object, ...]) -> bool:
    """Whether items are of the types of a tuple: one each, or one for all before `...`."""
    if kinds[-1:] == (...,):
        return all(_fits(item, kinds[0]) for item in values)
    return len(values) == len(kinds) and all(map(_fits, values, kinds))


def _is_finite(value: object) -> TypeGuard[int | float]:
    """Whether a JSON value is a number that a computation can take: no infinity, and a whole number of at most 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _fits(value: object, kind: object) -> bool:
    """Whether a JSON value without a dataclass is of a type: numbers, texts and null are told apart, lists and objects by their items."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if value is None or kind is type(None):
        return value is None and kind in (type(None), object)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    if origin is tuple:
        return isinstance(value, list | tuple) and _items_fit(value, get_args(kind))
    if origin is abc.Sequence:
        return isinstance(value, list | tuple) and _items_fit(value, (*get_args(kind), ...))
    if origin is not None:
        return isinstance(value, Mapping) and _items_fit(list(value.values()), (get_args(kind)[1], ...))
    if kind in (int, float):
        return _is_finite(value) and (kind is float or value == int(value))
    return isinstance(value, kind) if kind in (str, bool) and isinstance(kind, type) else True
