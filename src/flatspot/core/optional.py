"""Import an optional package, or say which extra brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from flatspot.core.errors import MissingExtra


def require(module: str, *, extra: str | None, purpose: str) -> ModuleType:
    """Import `module`, or raise `MissingExtra` naming the pip command that brings it; without an extra, the package by its own name.

    >>> require("json", extra="hf", purpose="read settings").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the package is there and one of its own imports is not: that message is the better one
        package = module.split(".")[0]
        what = f"'flatspot[{extra}]'" if extra else package
        raise MissingExtra(f"{purpose} needs the package {package!r}: pip install {what}") from error
