"""notes.json of a run folder: what drawing or importing left to say, and whether it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.files import read_json, write_json


def read_notes(run: Path) -> dict[str, Any]:
    """What drawing or importing left to say; a run killed before its end may have said nothing yet.

    A caveat is a sentence, or a pair of a code (`verdicts.caveats.CODES`) and a sentence.

    rounds          how many rounds the run had when it last ended; None where an older flatspot wrote it
    reward_caveats  those of the caveats that are the reward's, and would not hold for another
    """
    file = run / "notes.json"
    try:
        found = read_json(file) if file.exists() else {}
        found = {"caveats": [], "reward_caveats": [], "columns": {}, "shown": {}, "declared_range": None, "rounds": None} | found
        kinds = {
            "caveats": list,
            "reward_caveats": list,
            "columns": dict,
            "shown": dict,
            "declared_range": list | None,
            "rounds": int | None,
        }
        if wrong := [name for name, kind in kinds.items() if not isinstance(found[name], kind)]:
            raise ValueError(f"{wrong[0]} is {found[wrong[0]]!r}")
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{file} is damaged ({error}). Delete it and run again.") from error
    return found


def keep_notes(run: Path, **facts: Any) -> None:
    """Add to notes.json. A run that cannot be written keeps the notes that it has: it may be shown all the same."""
    old = read_notes(run)
    new = json.loads(json.dumps(old | facts))
    if new != old and (os.access(run, os.W_OK) or not (run / "notes.json").exists()):
        write_json(new, run / "notes.json")


def with_reward_caveats(run: Path, caveats: Sequence[str], of_reward: Sequence[str]) -> dict[str, list[str]]:
    """The caveats of a run, for `keep_notes`: those of this start, and of the reward also those of earlier ones, which saw other rows."""
    every = list(dict.fromkeys([*read_notes(run)["reward_caveats"], *of_reward]))
    return {"caveats": [*caveats, *every], "reward_caveats": every}


def keep_groups(run: Path, size: int | None, *, compares: bool) -> None:
    """Remember the size of the groups that a reward was called with that compares the completions of a group.

    Raises `RunFolderError` where the run holds rewards of groups of another size.
    """
    old = read_notes(run).get("whole_groups")
    if old is not None and old != size:
        raise RunFolderError(
            f"{run} holds rewards of whole groups of {old}, which would not mix with others: give another --out, or --fixed-samples with "
            f"--group-size {old} and a --max-samples that is a multiple of it"
        )
    if compares:
        keep_notes(run, whole_groups=size)
