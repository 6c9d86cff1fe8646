"""What a run folder names, so that nobody has to say it twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.request import IN_MEMORY
from flatspot.engines.names import is_hub_name
from flatspot.rewards import LoadedReward
from flatspot.runs.run import Run

Weights = Sequence[float] | None


def named_by_run(run: Run, model: Any, reward: Any, weights: Weights = None) -> tuple[Any, Any, Weights]:
    """The model, the rewards and their weights: those given, or, for None, those that a judged run folder names.

    Raises SettingsError where it names none that can be loaded again: an object in memory, a folder that is gone, the logs of a trainer;
    and where rewards are given without weights, but those of the run had some.
    """
    request = run.request
    own = request.reward_weights
    if model is None:
        model = request.model
        if not isinstance(model, str) or model.endswith(IN_MEMORY) or not (Path(model).expanduser().exists() or is_hub_name(model)):
            raise _unnamed(run, "model", model)
    if reward is None:
        reward = list(request.rewards)
        if not reward or any(name.endswith(IN_MEMORY) for name in reward):
            raise _unnamed(run, "reward", ", ".join(reward) or None)
        weights = own if weights is None else weights
    elif weights is None and own is not None and not isinstance(reward, LoadedReward):
        said = " ".join(f"{weight:g}" for weight in own)
        raise SettingsError(
            f"the rewards of {run.folder} have the weights {said}: give --reward-weight once for each --reward, or leave out both"
        )
    return model, reward, weights


def _unnamed(run: Run, what: str, name: str | None) -> SettingsError:
    return SettingsError(f"{run.folder} does not name a {what} that can be loaded again (its {what} is {name}): give --{what}")
