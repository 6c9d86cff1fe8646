"""The checkpoints of a warm-up: candidates are stored, the selected one becomes `policy`. A folder is complete or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flatspot.core.errors import RunFolderError

WARMUP = "flatspot warmup"
WARMUP_NAMES = ("policy", "adapter", "checkpoints", "curve.json", "warmup.json")
"""The names in its folder that a warm-up writes, replaces and deletes."""

# names that no user gives to a copy, unlike policy.old
_PART, _OLD = ".flatspot-part", ".flatspot-old"
_STEP = re.compile(r"step-\d{6,}")


def is_older_warmup(out: Path) -> bool:
    """Whether a folder without a mark was written by a warm-up of flatspot 0.1, which made no marks."""
    try:
        rows = json.loads((out / "curve.json").read_text("utf-8"))
        return bool(rows) and all({"step", "labels", "saved"} <= set(row) for row in rows)
    except (OSError, ValueError, TypeError):
        return False


class Checkpoints:
    """Folders step-000000, … in `out`/checkpoints."""

    def __init__(self, out: Path) -> None:
        self.out, self.place = out, out / "checkpoints"

    def folder(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.place / f"step-{step:06d}"

    def clear(self, *, after: int = -1) -> None:
        """Remove those of steps after `after`, which an earlier training left."""
        for folder in self.place.glob(f".step-*{_PART}"):  # of a training that was killed while writing
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._all():
            if int(folder.name[5:]) > after:
                shutil.rmtree(folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        """The folders of checkpoints; other folders beside them are left alone."""
        return [folder for folder in self.place.glob("step-*") if _STEP.fullmatch(folder.name)]

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder; RunFolderError if the disk is full, and the partial folder is then removed."""
        write_folder(self.folder(step), write)

    def keep(self, steps: Iterable[int]) -> None:
        """Remove all others."""
        folders = {self.folder(step) for step in steps}
        for folder in self._all():
            if folder not in folders:
                shutil.rmtree(folder, ignore_errors=True)

    def has(self, step: int) -> bool:
        """Whether it exists."""
        return self.folder(step).is_dir()

    def promote(self, step: int) -> Path:
        """Move the checkpoint of a step to `out`/policy (an adapter, merged, and to `out`/adapter); remove all others."""
        from flatspot.engines.model_folder import is_adapter

        source, target = self.folder(step), self.out / "policy"
        if is_adapter(source):
            move_folder(source, self.out / "adapter")
            write_folder(target, lambda folder: merge_adapter(self.out / "adapter", folder))
        else:
            move_folder(source, target)
        self.keep(())
        with contextlib.suppress(OSError):  # it contains other files
            self.place.rmdir()
        return target


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `target`, then move it there; RunFolderError if the disk is full."""
    fresh = target.with_name(f".{target.name}{_PART}")
    with or_nothing(fresh, target):
        fresh.mkdir(parents=True)
        write(fresh)
        _flush(fresh)
        move_folder(fresh, target)


@contextmanager
def or_nothing(fresh: Path, target: Path) -> Iterator[None]:
    """Remove `fresh` before the block, and after it if it fails; a full disk is raised as RunFolderError with `target` in its message."""
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if why := _disk_full(error):
            raise RunFolderError(
                f"cannot write {target}: {why}. Earlier checkpoints are complete: free some space, then run the same command again"
            ) from error
        raise


def move_folder(source: Path, target: Path) -> None:
    """Replace a folder by another; the caller makes sure that the replaced one was written by flatspot."""
    old = target.with_name(f".{target.name}{_OLD}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    source.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def merged_folder(adapter: Path) -> Path:
    """The folder of the model that results from merging an adapter into its base, for a trainer that loads a policy by its folder.

    Written once and kept in the cache by the content of both, in float32.
    """
    from flatspot.core.cache import cache_dir
    from flatspot.engines.adapter import base_of, joint_fingerprint
    from flatspot.engines.cache import build_once
    from flatspot.engines.policy import locate

    base = base_of(adapter)
    key = joint_fingerprint(locate(str(adapter))[1], locate(base)[1] or base)
    return build_once(cache_dir() / "merged" / f"{adapter.name}-{key}-v1", lambda folder: merge_adapter(adapter, folder))


def merge_adapter(adapter: Path, to: Path) -> None:
    """Write the model that results from merging an adapter into its base."""
    from flatspot.engines.policy import load_policy

    policy = load_policy(str(adapter), device="cpu", dtype="float32")
    policy.model.save_pretrained(str(to))
    policy.tokenizer.save_pretrained(str(to))


def _flush(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _disk_full(error: BaseException) -> str:
    """The reason if an error means that the disk is full or read-only; "" for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return str(error.strerror)
    text = str(error)  # safetensors has its own error class
    return "No space left on device" if type(error).__name__ == "SafetensorError" and "os error 28" in text else ""
