"""A tree of dataclasses as JSON, and back; each field is annotated with what it means, so that the reference page can be generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from flatspot.core.plain import JsonObject, plain


class Key(str):
    """The name of a field in JSON, where it is no Python name."""


class JsonField(NamedTuple):
    """A field of a dataclass: its name in Python, its type and what it means."""

    name: str
    kind: Any
    meaning: str


@cache
def json_fields(kind: Any) -> dict[str, JsonField]:
    """The fields of a dataclass by their names in JSON, in order.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Stds:
    ...     below_1: Annotated[float, "share under 0.01", Key("share_below_0.01")]
    >>> json_fields(Stds)["share_below_0.01"].meaning
    'share under 0.01'
    """
    fields = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        key = next((str(note) for note in notes if isinstance(note, Key)), name)
        meaning = next((str(note) for note in notes if not isinstance(note, Key)), "")
        fields[key] = JsonField(name, get_args(hint)[0] if notes else hint, meaning)
    return fields


def tree_to_json(value: Any) -> Any:
    """The value in JSON's own types; a dataclass with a `to_json` of its own is written by that."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return fields_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): tree_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tree_to_json(item) for item in value]
    return plain(value)


def fields_to_json(value: Any) -> JsonObject:
    """The fields of a dataclass as a JSON object."""
    return {key: tree_to_json(getattr(value, field.name)) for key, field in json_fields(value.__class__).items()}


def tree_from_json(kind: Any, stored: Any) -> Any:
    """A value of the tree from its JSON; a key that is missing keeps its default, one that is unknown is left out.

    Raises TypeError, ValueError or KeyError where the JSON is of another shape.
    """
    inner = dataclass_in(kind)
    if inner is None or stored is None:
        return tuple(stored) if isinstance(stored, list) else stored
    if get_origin(kind) is tuple:
        return tuple(tree_from_json(inner, item) for item in stored)
    if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        return {str(key): tree_from_json(inner, item) for key, item in stored.items()}
    if not isinstance(stored, Mapping):
        raise TypeError(f"{inner.__name__} is an object, got {stored!r:.80}")
    return inner.from_json(stored) if hasattr(inner, "from_json") else fields_from_json(inner, stored)


def fields_from_json(kind: Any, stored: Mapping[str, Any]) -> Any:
    """A dataclass from its JSON object."""
    fields = json_fields(kind)
    return kind(**{field.name: tree_from_json(field.kind, stored[key]) for key, field in fields.items() if key in stored})


def dataclass_in(kind: Any) -> Any:
    """The dataclass that a type is, or holds: of `Share`, `Share | None`, `tuple[Share, ...]` and `Mapping[str, Share]`; None in others."""
    parts: Sequence[Any] = get_args(kind) or (kind,)
    return next((part for part in parts if is_dataclass(part)), None)
