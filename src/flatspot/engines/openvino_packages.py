"""openvino and openvino-genai, imported without the event that `import openvino` posts to an analytics host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from flatspot.core.optional import require

_TELEMETRY = ("openvino_telemetry", "openvino_telemetry.backend")


def openvino_genai(purpose: str) -> ModuleType:
    """The package openvino_genai; MissingExtra, naming `purpose`, where it is not installed."""
    with _without_telemetry():
        return require("openvino_genai", extra="cpu", purpose=purpose)


def openvino() -> ModuleType:
    """The package openvino, which openvino-genai brings."""
    with _without_telemetry():
        return import_module("openvino")


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Within it openvino_telemetry cannot be imported, and openvino falls back to its own stub, which sends and writes nothing.

    openvino has no environment variable for this. Its consent file lies in the user's home, and is theirs to write.
    """
    if "openvino" in sys.modules:  # imported before by whoever called: theirs to decide
        yield
        return
    before = {name: sys.modules[name] for name in _TELEMETRY if name in sys.modules}
    sys.modules.update(dict.fromkeys(_TELEMETRY))  # type: ignore[arg-type]  # None is how an import is refused
    try:
        yield
    finally:
        for name in _TELEMETRY:
            sys.modules.pop(name, None)
        sys.modules.update(before)
