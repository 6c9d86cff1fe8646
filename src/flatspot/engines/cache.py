"""Converted policies on disk: named by content, and either complete or absent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from flatspot.core.cache import cache_dir
from flatspot.core.leftovers import sweep, temporary_beside

_WHOLE = 2 << 30  # bytes: up to here every byte is hashed (about a second a gigabyte), beyond it evenly spread pieces are
_ABANDONED_S = 6 * 3600.0  # no conversion goes so long without writing
_PIECES = 64
_CACHE_GIB = 20.0  # of converted policies of one kind; FLATSPOT_CACHE_GIB overrides it
_CONVERTED = re.compile(r".+-v\d+")  # how `gguf` and `openvino` name their conversions
_DAY_S = 86400.0
_PIECE = 1 << 20
_POLICY_FILES = ("*.safetensors", "pytorch_model*.bin", "*.gguf", "*.json", "*.jinja", "*.model", "*.txt")
_NOT_POLICY = {"trainer_state.json"}  # written by a trainer beside a checkpoint; does not change the policy


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """The folder `target`, created by `build(folder)` if it does not exist.

    `build` fills a temporary folder beside it, which is then renamed: a killed build leaves nothing under the name `target`,
    and of two processes that build at once the first to finish wins and both use its result.
    """
    if target.is_dir():
        with contextlib.suppress(OSError):
            os.utime(target)  # the time of last use
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    for old in target.parent.iterdir():  # named as flatspot 0.1.0 did; a name with a content hash is the beginning of no other file's
        if old.name.startswith(f".{target.name}.") and old.is_dir() and not old.is_symlink() and _idle_s(old) > _ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    draft = temporary_beside(target)
    draft.mkdir(mode=0o700)
    try:
        build(draft)
        draft.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if target.is_relative_to(cache_dir()):
        _evict(target)
    return target


def _idle_s(folder: Path) -> float:
    """Seconds since the last change in a folder; 0 if it no longer exists."""
    try:
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return 0.0


def _evict(new: Path) -> None:
    """Delete the least recently used conversions, none used within the last day, until the cache is within its limit."""
    try:
        budget = float(os.environ.get("FLATSPOT_CACHE_GIB") or _CACHE_GIB) * (1 << 30)
    except ValueError:
        budget = _CACHE_GIB * (1 << 30)
    with contextlib.suppress(OSError):  # another process may delete the same ones
        folders = [
            folder for folder in new.parent.iterdir() if _CONVERTED.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
        ]
        for folder in sorted(folders, key=lambda folder: (folder == new, folder.stat().st_mtime), reverse=True):
            budget -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            if budget < 0 and folder != new and time.time() - folder.stat().st_mtime > _DAY_S:
                shutil.rmtree(folder, ignore_errors=True)


def file_fingerprint(path: Path) -> str:
    """16 hex digits that identify a policy's files: names, sizes and content (all of it up to 2 GiB, else 64 MiB of each file)."""
    files = [path] if path.is_file() else policy_files(path)
    digest = hashlib.blake2b(digest_size=8)
    whole = sum(file.stat().st_size for file in files) <= _WHOLE
    for file in files:
        digest.update(f"{file.name}\x1f{file.stat().st_size}\x1f".encode())
        _hash_file(digest, file, whole)
    return digest.hexdigest()


def policy_files(folder: Path) -> list[Path]:
    """The files of a folder that define a policy, sorted by name."""
    files = {file for pattern in _POLICY_FILES for file in folder.glob(pattern) if file.is_file()}
    return sorted(file for file in files if file.name not in _NOT_POLICY)


def _hash_file(digest: hashlib.blake2b, file: Path, whole: bool) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if whole or size <= _PIECES * _PIECE:
            while piece := stream.read(_PIECE * 8):
                digest.update(piece)
            return
        for i in range(_PIECES):
            stream.seek(i * (size - _PIECE) // (_PIECES - 1))
            digest.update(stream.read(_PIECE))
