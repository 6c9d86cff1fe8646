"""Locks on folders that one process at a time may write: an empty file in the folder, locked by the system until closed or killed.

The file is opened without emptying it and never through a link, and stays: whoever deleted it would let two processes in. What is locked
is released by the system when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flatspot.core.errors import RunFolderError

LOCK_FILE = ".lock"  # whoever writes rows
JUDGING_FILE = ".judging.lock"  # whoever judges them, or moves them from file to file
_EVERY_S = 0.05


class Lock:
    """A lock that is held until `close`, the end of its `with` block, or of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Let others in; a second time does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def lock_folder(folder: Path, name: str = LOCK_FILE, *, wait_s: float = 0.0, instead: str = "another --out") -> Lock:
    """Lock a folder that exists against every other process, waiting at most `wait_s` seconds for the one that has it.

    instead  what an error tells the user to give

    Raises `RunFolderError` where another process holds it, where the folder cannot be written, and where its file system has no locks.

    >>> folder = getfixture("tmp_path")
    >>> with lock_folder(folder):
    ...     lock_folder(folder)
    Traceback (most recent call last):
    flatspot.core.errors.RunFolderError: ... is being written by another process. Wait for it to end, or give another --out.
    """
    lock = try_lock(folder, name, wait_s=wait_s, instead=instead)
    if lock is None:
        raise RunFolderError(f"{folder} is being written by another process. Wait for it to end, or give {instead}.")
    return lock


def try_lock(folder: Path, name: str = LOCK_FILE, *, wait_s: float = 0.0, instead: str = "another --out") -> Lock | None:
    """As `lock_folder`; None where another process holds it."""
    try:
        descriptor = _open(folder / name)
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder}: {error.strerror or error}. Give {instead}.") from error
    until = time.monotonic() + wait_s
    try:
        while not _locked(descriptor):
            if time.monotonic() >= until:
                os.close(descriptor)
                return None
            time.sleep(_EVERY_S)
    except OSError as error:
        os.close(descriptor)
        raise RunFolderError(
            f"{folder} cannot be locked ({error.strerror or error}), so two processes could write into it at once. "
            f"Give {instead}, on another file system."
        ) from error
    return Lock(descriptor)


@contextmanager
def judging(folder: Path, say: Callable[[str], None] | None = None, *, wait_s: float = 600.0) -> Iterator[bool]:
    """Keep the rows of a run folder as they are while they are judged, by one process at a time; yields whether it can be written.

    Rows may be added meanwhile: a run can be looked at while it is drawn. Raises `RunFolderError` where another process judges it and does
    not end within `wait_s` seconds. A folder that is not there, or cannot be written, is not locked.
    """
    if not os.access(folder, os.W_OK):
        yield False
        return
    lock = try_lock(folder, JUDGING_FILE)
    if lock is None:
        (say or (lambda _: None))(f"{folder} is being judged by another process: waiting for it")
        lock = try_lock(folder, JUDGING_FILE, wait_s=wait_s)
    if lock is None:
        raise RunFolderError(f"{folder} is being judged by another process. Wait for it to end, then run the same command again.")
    with lock:
        yield True


def _open(file: Path) -> int:
    """The file of a lock, made where it is not there; never one that a link leads to, nor anything but a plain file."""
    if file.is_symlink():  # O_NOFOLLOW says the same, where there is one, and leaves no moment between
        raise OSError(errno.ELOOP, f"its {file.name} is a link, and where it leads is not to be touched; delete the link")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except IsADirectoryError as error:
        raise OSError(error.errno, f"its {file.name} is a folder") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"its {file.name} is no plain file")
    return descriptor


def _locked(descriptor: int) -> bool:
    """Take the lock; False where another has it. A system without locks (a browser) runs one process, and needs none."""
    with warnings.catch_warnings():  # of a system without locks, on import
        warnings.simplefilter("ignore")
        from filelock import has_fcntl, lock_descriptor
    if sys.platform != "win32" and not has_fcntl:
        return True
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        if error.errno == errno.EDEADLK:
            return False
        raise
