"""Which folders and files are ours: nothing is written into another folder, and nothing else is ever deleted."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.leftovers import is_temporary, sweep
from flatspot.core.recording import FOLDER
from flatspot.rollouts.compaction import remove_covered
from flatspot.rollouts.locks import JUDGING_FILE, LOCK_FILE

# what flatspot 0.1.0 left of a file when it was killed
_OLD_TEMPORARY = re.compile(
    r"(rollouts/part-\d+-\d+|rounds/round-\d+|prompts|verdicts|gradients|plan)\.parquet\.tmp|(run|notes|report|watch)\.json\.tmp|report\.html\.tmp"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def refuse_addresses(path: Path) -> None:
    """Raise `RunFolderError` for `s3://bucket/run` and its like, which would become folders of this disk; `s3:run` is a name as any other.

    >>> refuse_addresses(Path("s3:run"))
    """
    if _ADDRESS.match(str(path)):  # a Path has one slash of the two left
        raise RunFolderError(
            f"--out must be a folder of this machine, got the address {path}. Give a folder, and copy it there afterwards."
        )


def refuse_files(path: Path) -> None:
    """Raise `RunFolderError` for a file, such as the run.json of a run, where a run folder is expected."""
    if path.is_file():
        folder = f": {path.parent}" if (path.parent / "run.json").exists() else ", which holds a run.json"
        raise RunFolderError(f"{path} is a file, and a run is a folder. Give the run folder{folder}.")


def refuse_strangers(path: Path) -> None:
    """Raise `RunFolderError` for a folder that holds other things than a run, or than the beginning of one that was killed."""
    try:
        if (path / "run.json").exists() or not path.is_dir():
            return
        strangers = [entry.name for entry in path.iterdir() if not _begun(entry)]
        rows = path / "rollouts"
        if rows.is_dir():
            strangers += [f"rollouts/{entry.name}" for entry in rows.iterdir() if not is_temporary(entry.name)]
    except OSError as error:
        raise RunFolderError(f"cannot look into {path}: {error.strerror or error}. Give another --out.") from error
    if strangers:
        few = ", ".join(sorted(strangers)[:3])
        raise RunFolderError(f"{path} is not empty and not a run folder (it holds {few}). Give another --out; nothing was changed in it.")


def _begun(entry: Path) -> bool:
    """Whether an entry may be of a start that was killed before it wrote run.json."""
    if entry.name in (LOCK_FILE, JUDGING_FILE):
        return entry.is_symlink() or (entry.is_file() and entry.stat().st_size == 0)  # a link is refused by the lock, which says why
    return is_temporary(entry.name) or (entry.name in ("rollouts", FOLDER) and entry.is_dir())


def remove_leftovers(path: Path) -> None:
    """Delete what a killed process left in a run folder that the caller has locked: temporary files of ours, and joined parts."""
    for folder in (path, path / "rollouts", path / "rounds"):
        sweep(folder)
        for file in folder.glob("*.tmp"):
            if _OLD_TEMPORARY.fullmatch(file.relative_to(path).as_posix()) and file.is_file() and not file.is_symlink():
                with contextlib.suppress(OSError):
                    file.unlink()
    remove_covered(path)
