"""Names for files and folders that are to be gone at the end, by which a later start tells those of a killed process from all else.

    .NAME.NODE-PID-RANDOM.flatspot.tmp     a file that becomes NAME, or a folder that does
    flatspot-NODE-PID-RANDOM               a folder in $TMPDIR

NODE names the machine (or container) that PID is a process of. Only what is named so is ever swept, and only when its process is gone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWNER = r"(?P<node>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}"
_BESIDE = re.compile(rf"\..*\.{_OWNER}\.flatspot\.tmp", re.DOTALL)
_SCRATCH = re.compile(rf"flatspot-{_OWNER}")
_FOREIGN_S = 7 * 86400  # what another machine left in a shared folder is taken for abandoned after so long
_LONGEST = 150  # bytes of NAME: a file system takes 255 in all


def temporary_beside(target: Path) -> Path:
    """A name beside `target`, for what is to be renamed to it."""
    name = os.fsencode(target.name)
    short = target.name if len(name) <= _LONGEST else hashlib.blake2b(name, digest_size=8).hexdigest()
    return target.with_name(f".{short}.{_owner()}.flatspot.tmp")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder in $TMPDIR for the time of the block; what killed processes left there of theirs goes first."""
    made = scratch_name()
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def scratch_name() -> Path:
    """A name for a folder in $TMPDIR, which a later call deletes where this process cannot."""
    place = Path(tempfile.gettempdir())
    sweep(place, _SCRATCH)
    return place / f"flatspot-{_owner()}"


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary_beside` gives.

    >>> is_temporary(temporary_beside(Path("run.json")).name), is_temporary("thesis.tmp")
    (True, False)
    """
    return _BESIDE.fullmatch(name) is not None


def sweep(folder: Path, pattern: re.Pattern[str] = _BESIDE) -> None:
    """Delete what processes that are gone left in a folder under names of ours, where they are this user's; never raises."""
    try:
        names = [entry.name for entry in os.scandir(folder) if pattern.fullmatch(entry.name)]
    except OSError:
        return
    for name in names:
        match = pattern.fullmatch(name)
        with contextlib.suppress(OSError):
            state = (folder / name).lstat()
            mine = not hasattr(os, "getuid") or state.st_uid == os.getuid()
            if match and mine and _abandoned(match["node"], int(match["pid"]), state.st_mtime):
                _delete(folder / name)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _abandoned(node: str, pid: int, modified: float) -> bool:
    if node != _node() or os.name == "nt":  # asking after a process would end it there
        return pid != os.getpid() and time.time() - modified > _FOREIGN_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _owner() -> str:
    return f"{_node()}-{os.getpid()}-{secrets.token_hex(4)}"


@functools.cache
def _node() -> str:
    """8 hex digits for the machine and the space of its process numbers: a container has its own."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it leads nowhere, as a path would
    return hashlib.blake2b(f"{platform.node()}\x1f{space}".encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
