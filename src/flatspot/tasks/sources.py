"""Prompt sources by name, `NAME:REST`: reasoning-gym, and those that other packages add to `flatspot.tasks`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol

from flatspot.core.errors import PromptFileError
from flatspot.core.extensions import find_extension
from flatspot.core.records import Prompt

BUILT_IN = ("reasoning-gym", "hf")
_NAMED = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)  # a name has two letters or more: C:\prompts.jsonl is a file

Item = str | Mapping[str, object] | Prompt


class PromptSource(Protocol):
    """What an entry point of `flatspot.tasks` is: a function that gives the prompts of `NAME:REST`.

    rest   what stands behind the colon, as it was written
    gives  texts, rows (mappings with a `prompt`, and with any columns the reward needs) or `Prompt`s, the same ones each time
    """

    def __call__(self, rest: str) -> Iterable[Item]:
        """The prompts. Raises `PromptFileError` for what the user can fix."""
        ...


def added_prompts(source: str, limit: int | None = None) -> list[Item] | None:
    """The first prompts of a source that an installed package adds; None where a text names no such source, or a file that is there.

    Raises `ExtensionError` naming the package where its source fails, or gives no prompts.

    >>> added_prompts("prompts.jsonl") is None
    True
    """
    named = _NAMED.fullmatch(source)
    if named is None or named[1] in BUILT_IN or Path(source).expanduser().exists():
        return None
    added = find_extension("tasks", named[1])
    if added is None:
        return None
    load = added.load()
    if not callable(load):
        raise added.error(f"expected a function of the text behind the colon, got {type(load).__name__}")
    with added.running():
        prompts: object = load(named[2])
        if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
            raise added.error(f"expected texts, rows or prompts, got {type(prompts).__name__}")
        items = list(islice(prompts, limit))
    wrong = next((item for item in items if not isinstance(item, str | Mapping | Prompt)), None)
    if wrong is not None:
        raise added.error(f"expected a text, a row or a Prompt, got {type(wrong).__name__}")
    if not items:
        raise PromptFileError(f"{source} gives no prompts")
    return items
