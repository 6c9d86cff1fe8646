"""Where flatspot keeps what is costly to make twice."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$FLATSPOT_CACHE, else the user's cache folder of the system, such as ~/.cache/flatspot or ~/Library/Caches/flatspot."""
    if named := os.environ.get("FLATSPOT_CACHE"):
        return Path(named)
    from platformdirs import user_cache_path  # here: every start imports this module

    return user_cache_path("flatspot", appauthor=False)
