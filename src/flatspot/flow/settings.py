"""Settings as keyword arguments of a verb, checked before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_type_hints

from flatspot.core.errors import SettingsError
from flatspot.core.options import DiagnoseOptions, InspectOptions, RescoreOptions
from flatspot.core.plain import JsonObject
from flatspot.core.renamed import keywords
from flatspot.core.settings import Settings
from flatspot.flow.judge import judge_settings
from flatspot.verdicts.ranges import usable_range

if TYPE_CHECKING:
    from flatspot.rewards.load import LoadedReward

Options = type[DiagnoseOptions] | type[InspectOptions] | type[RescoreOptions]


def checked_settings(values: Mapping[str, object], options: Options = DiagnoseOptions) -> Settings:
    """The settings with these values.

    options  those that the verb takes

    Raises `SettingsError` for a name that is not among them, and for a value that is out of its range.
    """
    values, names = keywords(values, stacklevel=4), get_type_hints(options)
    if unknown := sorted(set(values) - set(names)):
        raise SettingsError(f"unknown setting {unknown[0]!r}; there are: {', '.join(sorted(names))}")
    settings = Settings(**values)  # type: ignore[arg-type]  # Settings checks the kinds itself, as callers need not be typed
    judge_settings(settings, settings.reward_range or (0.0, 1.0))  # a wrong setting is refused now, not after the run
    return settings


def request_of_reward(settings: Settings, reward: LoadedReward) -> JsonObject:
    """The fields of a request that tell what the reward can give: as stated, else as it says itself."""
    return {
        "reward_range": settings.reward_range or usable_range(reward.range),
        "component_ranges": reward.component_ranges,
        "top_reachable": settings.top_reachable or (reward.top_reachable and settings.reward_range in (None, reward.range)),
        "deterministic_reward": settings.deterministic_reward or None,
    }
