"""Names of a package that are imported on their first use, so that importing the package is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def on_first_use(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names live in these modules of it.

    >>> find = on_first_use("flatspot.core", {"prompt_id": "records"})
    >>> find("prompt_id").__module__
    'flatspot.core.records'
    >>> find("prompt")
    Traceback (most recent call last):
    AttributeError: flatspot.core has no public name 'prompt'; it offers: prompt_id
    """

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"{package} has no public name {name!r}; it offers: {', '.join(sorted(home))}")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    return find
