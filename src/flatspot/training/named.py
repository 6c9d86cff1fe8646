"""The model and the rewards of a run, as defaults of the commands that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flatspot.core.errors import SettingsError
from flatspot.core.request import IN_MEMORY
from flatspot.engines.names import is_hub_name
from flatspot.rewards import LoadedReward
from flatspot.runs.run import Run
from flatspot.training.inputs import ModelSource, RewardSource

Weights = Sequence[float] | None


def named_by_run(
    run: Run, model: ModelSource | None, reward: RewardSource | None, weights: Weights = None
) -> tuple[ModelSource, RewardSource, Weights]:
    """The model, the rewards and their weights, with those of the run for None.

    Raises SettingsError if the run has none that can be loaded again (an object in memory, a missing folder, the logs of a trainer), and
    if rewards are passed without weights but those of the run have some.
    """
    request = run.request
    own = request.reward_weights
    if model is None:
        model = request.model
        if not isinstance(model, str) or model.endswith(IN_MEMORY) or not (Path(model).expanduser().exists() or is_hub_name(model)):
            raise _unnamed(run, "model", model)
    if reward is None:
        names = list(request.rewards)
        if not names or any(name.endswith(IN_MEMORY) for name in names):
            raise _unnamed(run, "reward", ", ".join(names) or None)
        return model, names, own if weights is None else weights
    if weights is None and own is not None and not isinstance(reward, LoadedReward):
        text = " ".join(f"{weight:g}" for weight in own)
        raise SettingsError(
            f"the rewards of {run.folder} have the weights {text}: give --reward-weight once for each --reward, or omit both"
        )
    return model, reward, weights


def _unnamed(run: Run, what: str, name: object) -> SettingsError:
    return SettingsError(f"{run.folder} does not name a {what} that can be loaded again (its {what} is {name}): give --{what}")
