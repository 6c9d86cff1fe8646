"""Folders that a command fills, and may fill anew: marked as its own before anything else is written, and locked meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.provenance import provenance
from flatspot.rollouts.locks import LOCK_FILE, Lock, lock_folder
from flatspot.rollouts.ownership import refuse_addresses
from flatspot.rollouts.store import write_json
from flatspot.training.ranks import rank

MARKER = ".flatspot.json"
_held: dict[Path, tuple[Lock, int]] = {}


@contextmanager
def own_folder(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool] = lambda _: False) -> Iterator[None]:
    """Hold a folder while the block runs: nobody else may, and what it holds of `names` was written by this `kind` of command.

    names     of the files and folders that the command replaces or deletes
    is_older  whether a folder without a mark is of a flatspot that did not mark them yet

    A block inside another for the same folder goes through; processes other than the first of a training hold nothing. Where the block
    fails before it has written anything, its mark is taken away again. Raises
    `RunFolderError`, before anything is written, where something is there that the command did not make.
    """
    place = out.resolve()
    if rank() != 0:
        yield
        return
    if place in _held:
        _held[place] = (_held[place][0], _held[place][1] + 1)
    else:
        _held[place] = (_take(out, kind, names, is_older), 1)
    try:
        yield
    finally:
        lock, holders = _held.pop(place)
        if holders > 1:
            _held[place] = (lock, holders - 1)
        else:
            if out.is_dir() and {path.name for path in out.iterdir()} <= {MARKER, LOCK_FILE}:
                (out / MARKER).unlink(missing_ok=True)
            lock.close()


def _take(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool]) -> Lock:
    refuse_addresses(out)
    _refuse_strangers(out, kind, names, is_older)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the folder {out}: {error.strerror or error}. Give another --out.") from error
    lock = lock_folder(out)
    try:
        _refuse_strangers(out, kind, names, is_older)
        write_json({"made_by": kind, "provenance": provenance()}, out / MARKER)
    except BaseException:
        lock.close()
        raise
    return lock


def _refuse_strangers(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool]) -> None:
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file, and a folder is needed. Give another --out.")
    made_by = _maker(out)
    if made_by == kind:
        return
    there = [name for name in names if (out / name).exists() or (out / name).is_symlink()]
    if made_by is not None:
        raise RunFolderError(f"{out} was filled by {made_by}. Give another --out.")
    if there and not is_older(out):
        raise RunFolderError(
            f"{out} holds {', '.join(there[:3])}, which {kind} did not make and would replace. Give another --out, or move them away."
        )


def _maker(out: Path) -> str | None:
    try:
        return str(json.loads((out / MARKER).read_text("utf-8"))["made_by"])
    except (FileNotFoundError, NotADirectoryError):  # what cannot be made is said where it is made
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{out / MARKER} is damaged ({error}). Give another --out.") from error
