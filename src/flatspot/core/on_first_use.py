"""Names of a package that are imported on their first use, so that importing the package is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from flatspot.core.errors import MissingExtra, MissingName


def on_first_use(
    package: str, home: Mapping[str, str], needs: Mapping[str, str] | None = None, *, extra: str | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """(`__getattr__`, `__dir__`) of a package whose names live in these modules of it.

    A name whose optional package is not installed raises `MissingName`: an attribute that is not there to Python, so that `hasattr` is
    False and `inspect.getmembers` passes it over, and the pip command to a user. `needs` has the optional packages of names: while one is
    not installed, its names are not in `dir`, nor in `__all__` if the package leaves `__all__` to this `__getattr__`. `extra` brings them
    where the names' own modules do not say so.

    >>> find, names = on_first_use("flatspot.core", {"prompt_id": "records"})
    >>> find("prompt_id").__module__, names()
    ('flatspot.core.records', ['prompt_id'])
    >>> find("prompt")
    Traceback (most recent call last):
    AttributeError: flatspot.core has no public name 'prompt'; it offers: prompt_id
    """

    def names() -> list[str]:
        missing = {name for name, other in (needs or {}).items() if not _is_installed(other)}
        return sorted(home.keys() - missing)

    def find(name: str) -> object:
        if name == "__all__":
            return names()
        if name not in home:
            raise AttributeError(f"{package} has no public name {name!r}; it offers: {', '.join(sorted(home))}")
        try:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        except MissingExtra as error:
            raise MissingName(str(error)) from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name != (needs or {}).get(name):
                raise
            brings = f"'flatspot[{extra}]'" if extra else error.name
            raise MissingName(f"{package}.{name} needs the package {error.name!r}: pip install {brings}") from error

    return find, names


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False
