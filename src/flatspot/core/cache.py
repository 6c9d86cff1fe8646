"""Where flatspot keeps what is costly to make twice."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$FLATSPOT_CACHE, else ~/.cache/flatspot."""
    return Path(os.environ.get("FLATSPOT_CACHE") or Path.home() / ".cache" / "flatspot")
