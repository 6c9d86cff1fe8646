"""Names of a package that are imported on their first use, so that importing the package is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from flatspot.core.errors import MissingExtra, MissingName


def on_first_use(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """(`__getattr__`, `__dir__`) of a package whose names live in these modules of it.

    A name whose optional package is not installed raises `MissingName`: an attribute that is not there to Python, so that `hasattr` is
    False and `inspect.getmembers` passes it over, and the pip command to a user.

    >>> find, names = on_first_use("flatspot.core", {"prompt_id": "records"})
    >>> find("prompt_id").__module__, names()
    ('flatspot.core.records', ['prompt_id'])
    >>> find("prompt")
    Traceback (most recent call last):
    AttributeError: flatspot.core has no public name 'prompt'; it offers: prompt_id
    """

    def find(name: str) -> object:
        if name not in home:
            raise AttributeError(f"{package} has no public name {name!r}; it offers: {', '.join(sorted(home))}")
        try:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        except MissingExtra as error:
            raise MissingName(str(error)) from error

    return find, lambda: sorted(home)
