"""Settings that were renamed: for one release their old names still work in calls, recipes, options and the files of older runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import wraps
from typing import TypeVar

from flatspot.core.errors import SettingsError

Value = TypeVar("Value")
Thing = TypeVar("Thing")

RENAMED = {
    "max_samples": "max_completions",
    "fixed_samples": "fixed_completions",
    "gradient_samples": "gradient_completions",
    "sure": "worst_case",
    "held_back": "held_out",
}
_OLD = {new: old for old, new in RENAMED.items()}
_OPTIONS = {f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in RENAMED.items()}


def with_new_names(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Settings by the names of today.

    Raises `SettingsError` where one is given by both of its names.

    >>> with_new_names({"max_samples": 8, "seed": 0})
    {'max_completions': 8, 'seed': 0}
    """
    for old in old_names(settings):
        if RENAMED[old] in settings:
            raise SettingsError(f"{old} is the old name of {RENAMED[old]}: give only {RENAMED[old]}")
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def with_old_names(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Settings by the names of 0.1, by which files of then were keyed: the stages of a recipe.

    >>> with_old_names({"max_completions": 8, "seed": 0})
    {'max_samples': 8, 'seed': 0}
    """
    return {_OLD.get(name, name): value for name, value in settings.items()}


def old_names(settings: Iterable[str]) -> list[str]:
    """Those names that are old ones."""
    return [name for name in settings if name in RENAMED]


def keywords(settings: Mapping[str, Value], *, stacklevel: int = 3) -> dict[str, Value]:
    """Keyword arguments by the names of today, with a `DeprecationWarning` for each old one."""
    for old in old_names(settings):
        text = f"{old} is called {RENAMED[old]} now; the old name goes in the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)
    return with_new_names(settings)


def old_keywords(kind: type[Thing]) -> type[Thing]:
    """A class decorator: the constructor also takes the old names of its keyword arguments, as `keywords` does."""
    init = kind.__init__

    @wraps(init)
    def constructor(self: Thing, *args: object, **settings: object) -> None:
        init(self, *args, **keywords(settings))

    setattr(kind, "__init__", constructor)  # noqa: B010 - mypy refuses the assignment to a method
    return kind


def option_words(words: Iterable[str]) -> list[str]:
    """The words of a command, as an older run noted them, by the options' names of today.

    >>> option_words(["--seed", "3", "--max-samples", "8"])
    ['--seed', '3', '--max-completions', '8']
    """
    return [_OPTIONS.get(word, word) for word in words]
