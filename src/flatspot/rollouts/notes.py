"""notes.json of a run folder: what sampling or importing its rows left to report, and how many rounds there were when it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.noise import CalledAgain
from flatspot.core.plain import JsonObject
from flatspot.core.protocols import Reward
from flatspot.rollouts.files import read_json, update_json
from flatspot.rollouts.parts import parts_of

Caveat = str | tuple[str, str]
"""A sentence, or a code (`verdicts.codes.CODES`) and a sentence."""


@dataclass(frozen=True)
class Notes:
    """notes.json.

    caveats         what limits the rows
    reward_caveats  those of them that are the reward's, and would not hold for another
    rounds          how many rounds the run had when it last ended; None: it never did
    whole_groups    the size of the groups that the reward was called with, where it compares the completions of a group
    noise           how much the reward of the same completions differed when it was called again, where it did
    """

    caveats: tuple[Caveat, ...] = ()
    reward_caveats: tuple[Caveat, ...] = ()
    rounds: int | None = None
    whole_groups: int | None = None
    noise: CalledAgain | None = None

    @property
    def noisy(self) -> bool:
        """Whether the reward was seen to give the same completions other values, so that nothing is proved of it."""
        return self.noise is not None or any(not isinstance(caveat, str) and caveat[0] == "noisy-reward" for caveat in self.caveats)

    @property
    def other_caveats(self) -> list[Caveat]:
        """The caveats that are not the reward's."""
        return [caveat for caveat in self.caveats if caveat not in self.reward_caveats]


def read_notes(folder: Path) -> Notes:
    """The notes of a run folder; a run killed before its end may have none yet. Raises `RunFolderError` where the file is damaged."""
    file = folder / "notes.json"
    try:
        stored = read_json(file) if file.exists() else {}
        caveats, of_reward = (_caveats(stored, name) for name in ("caveats", "reward_caveats"))
        rounds, groups = (_count(stored, name) for name in ("rounds", "whole_groups"))
        noise = CalledAgain(**stored["noise"]) if stored.get("noise") else None
        if rounds is None and stored.get("shown") and (folder / "rounds").is_dir():
            rounds = sum(1 for _ in (folder / "rounds").glob("round-*.parquet"))  # 0.1.0 wrote what it showed at the end alone
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{file} is damaged ({error}). Delete it and run again.") from error
    return Notes(caveats, of_reward, rounds, groups, noise)


def _caveats(notes: JsonObject, name: str) -> tuple[Caveat, ...]:
    items = notes.get(name, [])
    if not isinstance(items, list):
        raise ValueError(f"{name} is {items!r}")
    return tuple((str(item[0]), str(item[1])) if isinstance(item, list) and len(item) == 2 else str(item) for item in items)


def _count(notes: JsonObject, name: str) -> int | None:
    value = notes.get(name)
    if value is not None and not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}")
    return value


def write_notes(folder: Path, notes: Notes) -> None:
    """Write notes.json where it differs. A run that cannot be written keeps the notes that it has: it may be shown all the same."""
    update_json(asdict(notes), folder / "notes.json")


@dataclass(frozen=True)
class RewardNotes:
    """What is found out about a reward while it scores the rows of a run folder, written before the rows are: a killed run has it too.

    earlier  the caveats of earlier starts, which saw other rows
    """

    folder: Path
    reward: Reward
    earlier: Sequence[Caveat]

    def write(self) -> None:
        """Write what was found out so far. Raises `RunFolderError` where the run holds rewards of groups of another size."""
        write_group_size(self.folder, getattr(self.reward, "group_size", None), compares=getattr(self.reward, "compares", False))
        if so_far := getattr(self.reward, "lasting_notes", []):
            notes = read_notes(self.folder)
            noise = getattr(self.reward, "noise", None) or notes.noise
            self._write(replace(notes, noise=noise), so_far, notes.other_caveats)

    def end(self, caveats: Sequence[Caveat], rounds: int | None) -> None:
        """Write what the reward leaves to report at the end, after other caveats of the run."""
        self.write()
        self._write(replace(read_notes(self.folder), rounds=rounds), getattr(self.reward, "notes", []), caveats)

    def _write(self, notes: Notes, of_reward: Sequence[Caveat], others: Sequence[Caveat]) -> None:
        every = tuple(dict.fromkeys([*self.earlier, *of_reward]))
        write_notes(self.folder, replace(notes, caveats=(*others, *every), reward_caveats=every))


def reward_notes(folder: Path, reward: Reward) -> RewardNotes:
    """`RewardNotes` of a start."""
    return RewardNotes(folder, reward, read_notes(folder).reward_caveats)


def write_group_size(folder: Path, size: int | None, *, compares: bool) -> None:
    """Write down the size of the groups that a reward was called with that compares the completions of a group.

    Raises `RunFolderError` where the run holds rewards of groups of another size.
    """
    notes = read_notes(folder)
    if notes.whole_groups is not None and notes.whole_groups != size and parts_of(folder):
        raise RunFolderError(
            f"{folder} holds rewards of whole groups of {notes.whole_groups}, which would not mix with others: give another --out, or "
            f"--group-size {notes.whole_groups}; in flatspot diagnose with --fixed-completions, and a --max-completions that is a multiple "
            "of it"
        )
    if compares or (notes.whole_groups is not None and notes.whole_groups != size):  # the latter of a start that kept no rows
        write_notes(folder, replace(notes, whole_groups=size if compares else None))
