"""The file from which a training resumes: written completely or not at all, and refused if it belongs to another training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, write_whole


def save_checkpoint(path: Path, identity: Mapping[str, object], state: Mapping[str, object]) -> None:
    """Write tensors and plain values; RunFolderError on a full disk, where an existing file stays."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        torch.save({"identity": as_json(identity), "state": dict(state)}, file)


def load_checkpoint(path: Path, identity: Mapping[str, object]) -> dict[str, object]:
    """The saved state, with tensors on the CPU; nothing in the file is executed.

    Raises RunFolderError if the file is damaged, or if its training differs from this one; the message has the differences.
    """
    import pickle

    import torch

    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
        saved, state = contents["identity"], dict(contents["state"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunFolderError(f"{path} is damaged ({str(error).splitlines()[0]:.200}). Move it away to start over.") from error
    if changed := differences(saved, as_json(identity)):
        raise RunFolderError(
            f"{path} is the checkpoint of another training:\n  " + "\n  ".join(changed) + "\n"
            "Give another folder, or the same initial model, prompts, reward and settings as before."
        )
    return state
