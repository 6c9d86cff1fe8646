"""Going on with an RL run that was killed: from its last whole checkpoint, the rows that were drawn after it kept, but not counted."""

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
_JUDGED_S = 60.0


def last_checkpoint(trainer: Path) -> tuple[Path, int] | None:
    """The checkpoint of the most updates in a trainer's folder that was written to its end, and their number; None where there is none.

    transformers writes trainer_state.json last.
    """
    found = []
    for state in trainer.glob("checkpoint-*/trainer_state.json"):
        try:
            found.append((int(json.loads(state.read_text("utf-8"))["global_step"]), state.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not found:
        return None
    step, folder = max(found)
    return folder, step


def checkpoint_to_resume(named: object, trainer: Path) -> Path | None:
    """The checkpoint that --resume_from_checkpoint names: a folder, or "true" for the trainer's last whole one; None where it is not given.

    Raises `SettingsError` where there is no checkpoint there.
    """
    text = str(named or "").strip()
    if text.lower() in ("", "none", "false"):
        return None
    if text.lower() == "true":
        saved = last_checkpoint(trainer)
        if saved is None:
            raise SettingsError(f"--resume_from_checkpoint true: {trainer} holds no checkpoint. Leave the option out to start anew.")
        return saved[0]
    if not (Path(text) / "trainer_state.json").is_file():
        there = last_checkpoint(trainer)
        instead = f" The last one of {trainer} is {there[0]}." if there else ""
        raise SettingsError(f"--resume_from_checkpoint {text}: expected a checkpoint, a folder with trainer_state.json.{instead}")
    return Path(text)


def resume_rows(recorder: Recorder, step: int) -> None:
    """Set aside the rows of a watched run that a training which begins at update `step` draws again; every process must call it.

    As the first training begins, these are among the rows that were there when the watch was opened: what was drawn since then is of
    evaluations before it. As a later one begins in the same process, they are among all rows, of whatever process. Raises
    `RunFolderError` where a part of the run folder cannot be read or written: counting its rows twice would be wrong.
    """
    moved, trouble = 0, None
    if recorder.older is None:
        trouble = _all_written(recorder)
    if recorder.folder is not None and trouble is None and (recorder.older is None or recorder.older):
        try:
            moved = set_aside(recorder.path, step, recorder.older)
        except FlatspotError as error:
            trouble = str(error)
    moved, trouble = gather((moved, trouble))[0]
    if trouble is not None:
        raise RunFolderError(trouble)
    recorder.older = None
    if moved:
        recorder.drawn = drawn_so_far(recorder.path)
        recorder.live.forget()
        recorder.caveat(
            f"{moved} completions of update {step} and later were there from before this training, which begins at update {step}: they are "
            f"kept in {recorder.path / ASIDE} and not counted."
        )


def _all_written(recorder: Recorder) -> str | None:
    """Write what waits in any process, and wait for all of them; returns why that failed."""
    recorder.settle()
    recorder.flush(force=True)
    if not any(gather(bool(recorder.waiting))):
        return None
    return f"completions that an earlier training drew cannot be written to {recorder.path}: make room and begin again."


def set_aside(run: Path, step: int, parts: Collection[str] | None = None) -> int:
    """Move the rows of update `step` and later out of a watched run's parts into RUN/set-aside; returns how many.

    parts  the names of the parts to look at; None: all

    Evaluations at `step` itself were made before its checkpoint and stay, unless the training starts anew at 0.
    """
    with lock_folder(run, JUDGING_FILE, wait_s=_JUDGED_S):  # whoever judges the rows now is to see all of them
        return sum(_split(run, part.file, step) for part in part_files(run) if parts is None or part.file.name in parts)


def _split(run: Path, part: Path, step: int) -> int:
    """Move the late rows of one part; returns how many."""
    import pyarrow.compute as pc

    rows = read_table(part)
    late = pc.fill_null(pc.greater_equal(rows["step"], step), False)
    if step > 0 and "split" in rows.column_names:
        stays = pc.and_(pc.fill_null(pc.equal(rows["split"], "eval"), False), pc.fill_null(pc.equal(rows["step"], step), False))
        late = pc.and_(late, pc.invert(stays))
    again = rows.filter(late)
    if not again.num_rows:
        return 0
    write_table(again, _free(run / ASIDE, part.stem))
    if again.num_rows == rows.num_rows:
        part.unlink()  # each of its rows is in the other file by now
    else:
        write_table(rows.filter(pc.invert(late)), part)
    return int(again.num_rows)


def drawn_so_far(path: Path) -> dict[str, int]:
    """How many completions of each prompt a run folder holds."""
    import pyarrow.compute as pc

    drawn: Counter[str] = Counter()
    for part in part_files(path):
        counted = pc.value_counts(read_table(part.file, ["prompt_id"])["prompt_id"])
        drawn.update({str(entry["values"]): int(entry["counts"]) for entry in counted.to_pylist()})
    return dict(drawn)


def _free(folder: Path, stem: str) -> Path:
    folder.mkdir(exist_ok=True)
    names = (folder / f"{stem}-{number:03d}.parquet" for number in itertools.count())
    return next(name for name in names if not name.exists())
