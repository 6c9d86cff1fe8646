"""The checkpoints of a warm-up: those that may be chosen are kept, the chosen one becomes `policy`. Folders are whole, or not there."""

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
"""What a warm-up writes in its folder, replaces there, and deletes."""

# no name that somebody would give a copy of his own, as policy.old
_PART, _OLD = ".flatspot-part", ".flatspot-old"
_STEP = re.compile(r"step-\d{6,}")


def is_older_warmup(out: Path) -> bool:
    """Whether a folder without a mark was filled by a warm-up of flatspot 0.1, which made none."""
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
        """Where the checkpoint of a step is."""
        return self.place / f"step-{step:06d}"

    def clear(self, *, after: int = -1) -> None:
        """Remove those of steps after `after`: what an earlier training left."""
        for folder in self.place.glob(f".step-*{_PART}"):  # of one that was killed while it wrote
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._all():
            if int(folder.name[5:]) > after:
                shutil.rmtree(folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        """The folders of checkpoints; whatever else somebody put beside them is left alone."""
        return [folder for folder in self.place.glob("step-*") if _STEP.fullmatch(folder.name)]

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder; RunFolderError where the disk is full, and then nothing of it is left."""
        write_folder(self.folder(step), write)

    def keep(self, steps: Iterable[int]) -> None:
        """Remove all others."""
        kept = {self.folder(step) for step in steps}
        for folder in self._all():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def has(self, step: int) -> bool:
        """Whether it is there."""
        return self.folder(step).is_dir()

    def promote(self, step: int) -> Path:
        """Make the checkpoint of a step `out`/policy, an adapter merged into its base and kept beside it; remove all others."""
        from flatspot.engines.model_folder import is_adapter

        source, target = self.folder(step), self.out / "policy"
        if is_adapter(source):
            move_folder(source, self.out / "adapter")
            write_folder(target, lambda folder: merge_adapter(self.out / "adapter", folder))
        else:
            move_folder(source, target)
        self.keep(())
        with contextlib.suppress(OSError):  # something else is in it
            self.place.rmdir()
        return target


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `target`, then put it in its place; RunFolderError where there is no room."""
    fresh = target.with_name(f".{target.name}{_PART}")
    with or_nothing(fresh, target):
        fresh.mkdir(parents=True)
        write(fresh)
        _flush(fresh)
        move_folder(fresh, target)


@contextmanager
def or_nothing(fresh: Path, target: Path) -> Iterator[None]:
    """Nothing is at `fresh` as the block begins, nor where it fails; RunFolderError naming `target` where that is for want of room."""
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        yield
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if why := _no_room(error):
            raise RunFolderError(
                f"cannot write {target}: {why}. Checkpoints written before it are whole: make room, then run the same command again"
            ) from error
        raise


def move_folder(source: Path, target: Path) -> None:
    """Put a folder in the place of another, which is removed; the caller makes sure that it is one of ours."""
    old = target.with_name(f".{target.name}{_OLD}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    source.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def merge_adapter(adapter: Path, to: Path) -> None:
    """Write the model that an adapter folder and its base make together."""
    from flatspot.engines.policy import load_policy

    policy = load_policy(str(adapter), device="cpu", dtype="float32")
    policy.model.save_pretrained(str(to))
    policy.tokenizer.save_pretrained(str(to))


def _flush(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _no_room(error: BaseException) -> str:
    """Why there was no room, in any of the ways that is said; "" for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return str(error.strerror)
    text = str(error)  # safetensors raises an error of its own
    return "No space left on device" if type(error).__name__ == "SafetensorError" and "os error 28" in text else ""
