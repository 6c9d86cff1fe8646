"""What a run folder names, so that nobody has to say it twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.plan.forecast import judged_summary


def named_by_run(run: Path, model: Any, reward: Any) -> tuple[Any, Any]:
    """The model and reward given, or, for None, those that a judged run folder names.

    Raises SettingsError where it names none that can be loaded again: an object in memory, a folder that is gone, the logs of a trainer.
    """
    shown = judged_summary(run).get("settings") or {}
    for what, value in (("model", model), ("reward", reward)):
        named = str(shown.get(what))
        if value is None and (what not in shown or "(in memory)" in named or (what == "model" and not _there(named))):
            raise SettingsError(f"{run} does not name a {what} that can be loaded again (it says {named}): give --{what}")
    return model or str(shown.get("model")), reward if reward is not None else str(shown.get("reward")).split(", ")


def _there(name: str) -> bool:
    """Whether a model's name can be loaded: a path that is there, the model that is shipped, or a name of the hub."""
    return Path(name).exists() or (name.count("/") < 2 and not name.startswith((".", "/", "~")))
