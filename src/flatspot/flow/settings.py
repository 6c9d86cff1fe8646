"""Settings as keyword arguments of a verb, checked before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.renamed import keywords
from flatspot.core.settings import Settings
from flatspot.flow.judge import judge_settings


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """The settings with these values. Raises `SettingsError` for an unknown name, and for a value that is out of its range."""
    names, values = {f.name for f in fields(Settings)}, keywords(values, stacklevel=4)
    if unknown := sorted(set(values) - names):
        raise SettingsError(f"unknown setting {unknown[0]!r}; there are: {', '.join(sorted(names))}")
    settings = Settings(**values)
    judge_settings(settings, settings.reward_range or (0.0, 1.0))  # a wrong setting is refused now, not after the run
    return settings
