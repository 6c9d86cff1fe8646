"""Resume a killed RL run from its last complete checkpoint: rows sampled after it are set aside, not counted."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from flatspot.core.errors import FlatspotError, RunFolderError, SettingsError
from flatspot.rollouts.locks import JUDGING_FILE, lock_folder
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.store import write_table
from flatspot.rollouts.tables import read_table
from flatspot.training.ranks import gather
from flatspot.training.watch.recorder import Recorder

ASIDE = "set-aside"
_WAIT_S = 60.0


def last_checkpoint(trainer: Path) -> tuple[Path, int] | None:
    """The latest complete checkpoint in a trainer's folder, and its number of updates; None if there is none.

    transformers writes trainer_state.json last.
    """
    checkpoints = []
    for state in trainer.glob("checkpoint-*/trainer_state.json"):
        try:
            checkpoints.append((int(json.loads(state.read_text("utf-8"))["global_step"]), state.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not checkpoints:
        return None
    step, folder = max(checkpoints)
    return folder, step


def checkpoint_to_resume(option: object, trainer: Path) -> Path | None:
    """The checkpoint of --resume_from_checkpoint: a folder, or "true" for the trainer's last complete one; None if the option is not set.

    Raises `SettingsError` if there is no checkpoint.
    """
    text = str(option or "").strip()
    if text.lower() in ("", "none", "false"):
        return None
    if text.lower() == "true":
        saved = last_checkpoint(trainer)
        if saved is None:
            raise SettingsError(f"--resume_from_checkpoint true: {trainer} holds no checkpoint. Omit the option to start over.")
        return saved[0]
    if not (Path(text) / "trainer_state.json").is_file():
        last = last_checkpoint(trainer)
        instead = f" The last one in {trainer} is {last[0]}." if last else ""
        raise SettingsError(f"--resume_from_checkpoint {text}: expected a checkpoint, a folder with trainer_state.json.{instead}")
    return Path(text)


def resume_rows(recorder: Recorder, step: int) -> None:
    """Set aside the rows of a watched run that a training beginning at update `step` samples again; every process must call it.

    For the first training these are among the rows that existed when the watch was opened: rows since then belong to evaluations before
    it. For a later training in the same process they are among all rows, of all processes. Raises `RunFolderError` if a part of the run
    folder cannot be read or written, because its rows would be counted twice.
    """
    moved, trouble = 0, None
    if recorder.older is None:
        trouble = _all_written(recorder)
    if recorder.folder is not None and trouble is None and (recorder.older is None or recorder.older):
        try:
            moved = set_aside(recorder.path, step, recorder.older)
        except (FlatspotError, OSError) as error:  # the others wait for the answer
            trouble = str(error)
    moved, trouble = gather((moved, trouble))[0]
    if trouble is not None:
        raise RunFolderError(trouble)
    recorder.older = None
    if moved:
        recorder.counts = completion_counts(recorder.path)
        recorder.live.forget()
        recorder.caveat(
            f"{moved} completions of update {step} and later existed before this training, which begins at update {step}: they were "
            f"moved to {recorder.path / ASIDE} and are not counted."
        )


def _all_written(recorder: Recorder) -> str | None:
    """Write the waiting rows of all processes; returns the reason if that failed."""
    recorder.settle()
    recorder.flush(force=True)
    if not any(gather(bool(recorder.waiting))):
        return None
    return f"completions of an earlier training cannot be written to {recorder.path}: free some space and start again."


def set_aside(folder: Path, step: int, parts: Collection[str] | None = None) -> int:
    """Move the rows of update `step` and later from a watched run's parts to RUN/set-aside; returns how many.

    parts  the names of the parts to split; None: all

    Evaluations at `step` itself took place before its checkpoint and stay, unless the training starts over at 0.
    """
    with lock_folder(folder, JUDGING_FILE, wait_s=_WAIT_S):  # a process that is judging the rows now must see all of them
        return sum(_split(folder, part.file, step) for part in part_files(folder) if parts is None or part.file.name in parts)


def _split(folder: Path, part: Path, step: int) -> int:
    """Move the late rows of one part; returns how many."""
    import pyarrow.compute as pc

    rows = read_table(part)
    late = pc.fill_null(pc.greater_equal(rows["step"], step), False)
    if step > 0 and "split" in rows.column_names:
        stays = pc.and_(pc.fill_null(pc.equal(rows["split"], "eval"), False), pc.fill_null(pc.equal(rows["step"], step), False))
        late = pc.and_(late, pc.invert(stays))
    aside = rows.filter(late)
    if not aside.num_rows:
        return 0
    write_table(aside, _free(folder / ASIDE, part.stem))
    if aside.num_rows == rows.num_rows:
        part.unlink()  # each of its rows is in the other file by now
    else:
        write_table(rows.filter(pc.invert(late)), part)
    return int(aside.num_rows)


def completion_counts(path: Path) -> dict[str, int]:
    """Number of completions of each prompt in a run folder."""
    import pyarrow.compute as pc

    totals: Counter[str] = Counter()
    for part in part_files(path):
        counts = pc.value_counts(read_table(part.file, ["prompt_id"])["prompt_id"])
        totals.update({str(entry["values"]): int(entry["counts"]) for entry in counts.to_pylist()})
    return dict(totals)


def _free(folder: Path, stem: str) -> Path:
    folder.mkdir(exist_ok=True)
    names = (folder / f"{stem}-{number:03d}.parquet" for number in itertools.count())
    return next(name for name in names if not name.exists())
