"""Where a result came from: versions, machine, time."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
from datetime import UTC, datetime

# what can change a sampled row or a statistic; read from metadata, so nothing is imported for it
_PACKAGES = ("numpy", "scipy", "pyarrow", "duckdb", "torch", "transformers", "openvino", "openvino-genai", "reasoning-gym")


@functools.cache
def package_version() -> str:
    """flatspot's own version, as installed."""
    return importlib.metadata.version("flatspot")


def provenance() -> dict[str, object]:
    """Versions of flatspot and of what it stands on, the Python and platform, and the time in UTC."""
    return {
        "flatspot": package_version(),
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
