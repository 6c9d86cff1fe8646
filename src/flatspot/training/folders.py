"""Folders that a command fills and may refill: marked as its own before anything else is written, and locked in the meantime."""

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
_locks: dict[Path, tuple[Lock, int]] = {}  # lock of each folder in use, and how many nested blocks use it


@contextmanager
def own_folder(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool] = lambda _: False) -> Iterator[None]:
    """Lock a folder while the block runs, and make sure that any of `names` in it were written by this `kind` of command.

    names     the files and folders that the command replaces or deletes
    is_older  whether a folder without a mark was written by a version of flatspot that made no marks

    Blocks for the same folder can be nested; in a distributed training only the first process locks. If the block fails before it has
    written anything, its mark is removed again. Raises `RunFolderError`, before anything is written, if the folder contains any of
    `names` from another source.
    """
    place = out.resolve()
    if rank() != 0:
        yield
        return
    if place in _locks:
        _locks[place] = (_locks[place][0], _locks[place][1] + 1)
    else:
        _locks[place] = (_acquire(out, kind, names, is_older), 1)
    try:
        yield
    finally:
        lock, users = _locks.pop(place)
        if users > 1:
            _locks[place] = (lock, users - 1)
        else:
            if out.is_dir() and {path.name for path in out.iterdir()} <= {MARKER, LOCK_FILE}:
                (out / MARKER).unlink(missing_ok=True)
            lock.close()


def _acquire(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool]) -> Lock:
    refuse_addresses(out)
    _check_contents(out, kind, names, is_older)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot create the folder {out}: {error.strerror or error}. Give another --out.") from error
    lock = lock_folder(out)
    try:
        _check_contents(out, kind, names, is_older)
        write_json({"made_by": kind, "provenance": provenance()}, out / MARKER)
    except BaseException:
        lock.close()
        raise
    return lock


def _check_contents(out: Path, kind: str, names: Sequence[str], is_older: Callable[[Path], bool]) -> None:
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out} is a file, expected a folder. Give another --out.")
    made_by = _maker(out)
    if made_by == kind:
        return
    existing = [name for name in names if (out / name).exists() or (out / name).is_symlink()]
    if made_by is not None:
        raise RunFolderError(f"{out} was written by {made_by}. Give another --out.")
    if existing and not is_older(out):
        raise RunFolderError(
            f"{out} contains {', '.join(existing[:3])}, which {kind} did not write and would replace. Give another --out, or move them."
        )


def _maker(out: Path) -> str | None:
    try:
        return str(json.loads((out / MARKER).read_text("utf-8"))["made_by"])
    except (FileNotFoundError, NotADirectoryError):  # if it cannot be created, mkdir reports it
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{out / MARKER} is damaged ({error}). Give another --out.") from error
