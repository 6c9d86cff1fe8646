"""openvino and openvino-genai, imported without the telemetry event that `import openvino` sends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from flatspot.core.optional import require

_TELEMETRY = ("openvino_telemetry", "openvino_telemetry.backend")


def openvino_genai(purpose: str) -> ModuleType:
    """The package openvino_genai; MissingExtra, with `purpose` in its message, if it is not installed."""
    with _without_telemetry():
        return require("openvino_genai", extra="cpu", purpose=purpose)


def openvino() -> ModuleType:
    """The package openvino, a dependency of openvino-genai."""
    with _without_telemetry():
        return import_module("openvino")


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Block the import of openvino_telemetry, so that openvino falls back to its own stub, which sends and writes nothing.

    openvino has no environment variable for this, and its consent file is in the user's home, which is not ours to write to.
    """
    if "openvino" in sys.modules:  # already imported by the caller, who has decided
        yield
        return
    before = {name: sys.modules[name] for name in _TELEMETRY if name in sys.modules}
    sys.modules.update(dict.fromkeys(_TELEMETRY))  # type: ignore[arg-type]  # None blocks an import
    try:
        yield
    finally:
        for name in _TELEMETRY:
            sys.modules.pop(name, None)
        sys.modules.update(before)
