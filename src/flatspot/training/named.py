"""What a run folder names, so that nobody has to say it twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.reward_names import rewards_named
from flatspot.engines.names import is_hub_name
from flatspot.planning.forecast import judged_summary
from flatspot.rewards import LoadedReward

Weights = Sequence[float] | None


def named_by_run(run: Path, model: Any, reward: Any, weights: Weights = None) -> tuple[Any, Any, Weights]:
    """The model, the rewards and their weights: those given, or, for None, those that a judged run folder names.

    Raises SettingsError where it names none that can be loaded again: an object in memory, a folder that is gone, the logs of a trainer;
    and where rewards are given without weights, but those of the run had some.
    """
    shown = judged_summary(run).get("settings") or {}
    own = shown.get("reward_weights")
    if model is None:
        model = shown.get("model")
        if not isinstance(model, str) or "(in memory)" in model or not (Path(model).expanduser().exists() or is_hub_name(model)):
            raise _unnamed(run, "model", model)
    if reward is None:
        reward = rewards_named(shown)
        if not reward or any("(in memory)" in name for name in reward):
            raise _unnamed(run, "reward", ", ".join(reward) or None)
        weights = own if weights is None else weights
    elif weights is None and own is not None and not isinstance(reward, LoadedReward):
        said = " ".join(f"{weight:g}" for weight in own)
        raise SettingsError(f"the rewards of {run} have the weights {said}: give --reward-weight once for each --reward, or leave out both")
    return model, reward, weights


def _unnamed(run: Path, what: str, said: Any) -> SettingsError:
    return SettingsError(f"{run} does not name a {what} that can be loaded again (it says {said}): give --{what}")
