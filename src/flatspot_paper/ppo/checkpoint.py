"""One file that a training run goes on from: written whole or not at all, and refused where it belongs to another run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, write_whole


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write tensors and plain values; on a full disk the file that was there stays, and RunFolderError says so."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        torch.save({"identity": as_json(identity), "state": dict(state)}, file)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, its tensors on the CPU; nothing in the file is executed.

    Raises RunFolderError where the file is damaged, or its run and this one differ: the message names in what.
    """
    import pickle

    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        saved, state = found["identity"], dict(found["state"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunFolderError(f"{path} is damaged ({str(error).splitlines()[0]:.200}). Move it away to start anew.") from error
    if changed := differences(saved, as_json(identity)):
        raise RunFolderError(
            f"{path} is the checkpoint of another training:\n  " + "\n  ".join(changed) + "\n"
            "Give another folder, or the same model to start from, prompts, reward and settings as before."
        )
    return state
