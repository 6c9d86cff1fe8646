"""notes.json of a run folder: what drawing or importing left to say, and whether it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.core.protocols import Reward
from flatspot.rollouts.files import read_json, write_json
from flatspot.rollouts.parts import parts_of


def read_notes(run: Path) -> dict[str, Any]:
    """What drawing or importing left to say; a run killed before its end may have said nothing yet.

    A caveat is a sentence, or a pair of a code (`verdicts.caveats.CODES`) and a sentence.

    rounds          how many rounds the run had when it last ended; None where an older flatspot wrote it
    reward_caveats  those of the caveats that are the reward's, and would not hold for another
    whole_groups    the size of the groups that the reward was called with, where it compares the completions of a group
    """
    file = run / "notes.json"
    try:
        found = read_json(file) if file.exists() else {}
        usual: dict[str, Any] = {"caveats": [], "reward_caveats": [], "columns": {}, "shown": {}}
        found = usual | {"declared_range": None, "rounds": None, "whole_groups": None} | found
        kinds = {
            "caveats": list,
            "reward_caveats": list,
            "columns": dict,
            "shown": dict,
            "declared_range": list | None,
            "rounds": int | None,
            "whole_groups": int | None,
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


def has_ended(notes: Mapping[str, Any], rounds: int) -> bool:
    """Whether a run with so many rounds was brought to its end, with all there is to say of it; an older flatspot did not say."""
    return bool(notes["rounds"] == rounds if notes["rounds"] is not None else notes["shown"])


@dataclass(frozen=True)
class RewardFacts:
    """What is found out about a reward while it scores the rows of a run folder, kept before the rows are: a killed run has it too.

    earlier  the caveats of earlier starts, which saw other rows
    """

    run: Path
    reward: Reward
    earlier: Sequence[str]

    def keep(self) -> None:
        """Keep what was found out so far. Raises `RunFolderError` where the run holds rewards of groups of another size."""
        keep_groups(self.run, getattr(self.reward, "group_size", None), compares=getattr(self.reward, "compares", False))
        if so_far := getattr(self.reward, "lasting_notes", []):
            keep_notes(self.run, **self._caveats(so_far, other_caveats(read_notes(self.run))))

    def end(self, caveats: Sequence[Any], **facts: Any) -> None:
        """Keep what the reward leaves to say at the end, after other caveats of the run, and further facts."""
        self.keep()
        keep_notes(self.run, **self._caveats(getattr(self.reward, "notes", []), caveats), **facts)

    def _caveats(self, of_reward: Sequence[str], others: Sequence[Any]) -> dict[str, Any]:
        every = list(dict.fromkeys([*self.earlier, *of_reward]))
        return {"caveats": [*others, *every], "reward_caveats": every}


def reward_facts(run: Path, reward: Reward) -> RewardFacts:
    """`RewardFacts` of a start."""
    return RewardFacts(run, reward, tuple(read_notes(run)["reward_caveats"]))


def other_caveats(notes: Mapping[str, Any]) -> list[Any]:
    """The caveats that are not the reward's."""
    return [caveat for caveat in notes["caveats"] if caveat not in notes["reward_caveats"]]


def keep_groups(run: Path, size: int | None, *, compares: bool) -> None:
    """Keep the size of the groups that a reward was called with that compares the completions of a group.

    Raises `RunFolderError` where the run holds rewards of groups of another size.
    """
    old = read_notes(run)["whole_groups"]
    if old is not None and old != size and parts_of(run):
        raise RunFolderError(
            f"{run} holds rewards of whole groups of {old}, which would not mix with others: give another --out, or --group-size {old}; "
            f"in flatspot diagnose with --fixed-completions, and a --max-completions that is a multiple of it"
        )
    if compares or (old is not None and old != size):  # the latter of a start that kept no rows
        keep_notes(run, whole_groups=size if compares else None)
