"""`flatspot inspect --follow` on one page: a log that is being written is looked at again and again → rollouts → verdicts → report."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from flatspot.core.errors import ImportFormatError, RunFolderError, SettingsError
from flatspot.core.leftovers import scratch_folder, temporary_beside
from flatspot.core.options import InspectOptions
from flatspot.core.protocols import Say
from flatspot.core.recording import FOLDER as RECORDED
from flatspot.core.recording import is_recording
from flatspot.core.settings import Settings
from flatspot.flow.judge import judge_run
from flatspot.flow.settings import checked_settings
from flatspot.importers.generic import LogColumns
from flatspot.importers.growing import Growing, Stamps
from flatspot.importers.runs import import_logs
from flatspot.importers.search import is_run_folder, listed
from flatspot.importers.window import window
from flatspot.readers.kept import KeptRows
from flatspot.rollouts.identity import digest
from flatspot.rollouts.locks import judging, lock_folder
from flatspot.rollouts.ownership import refuse_addresses, refuse_strangers, remove_leftovers
from flatspot.rollouts.settings_diff import differences
from flatspot.rollouts.store import as_json, read_record, write_record
from flatspot.runs.run import Run

# in an order in which a folder that a kill leaves in between says that it is to be judged again
_REPLACED = (
    "rollouts/part-000-000000.parquet",
    "prompts.parquet",
    "notes.json",
    "run.json",
    "verdicts.parquet",
    "steps.parquet",
    "report.json",
    "report.html",
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked of each look at a log."""

    paths: Sequence[Path]
    columns: LogColumns
    format: str
    allow_pickle: bool
    settings: Settings
    place: Path
    say: Say


def follow(
    paths: str | Path | Sequence[str | Path],
    *,
    every: float = 10.0,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    reward_list: str | None = None,
    format: str = "auto",
    allow_pickle: bool = False,
    steps: str | tuple[int | None, int | None] | None = None,
    last: int | None = None,
    split: str | None = None,
    say: Say | None = None,
    **settings: Unpack[InspectOptions],
) -> Iterator[Run]:
    """Judge the rollouts of a training as its trainer logs them: a judged run each time the log has grown, without end.

    The run folder is replaced each time, whole: it is what `inspect` makes of the log as it was. Lines and files that are not complete yet
    are left for the next look, and of CSV and JSON lines only what is new is read. Stop it when you like: `break`, or Ctrl-C.

    every   seconds between looks; at least as long is waited as the last judging took
    others  as in `inspect`; `out` is `runs/follow-…` by default, one folder for these paths and columns

    Raises `ImportFormatError` where a log that does not grow meanwhile cannot be read; while it grows, `say` gets the reason.
    """
    chosen = checked_settings(settings, InspectOptions)
    if not every > 0:
        raise SettingsError(f"--every must be a number of seconds above 0, got {every}")
    named = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    named = [path / RECORDED if is_recording(path) else path for path in named]
    if runs := [path for path in named if is_run_folder(path)]:
        raise SettingsError(f"{runs[0]} is a run folder, which does not grow: judge it again without --follow.")
    asked = LogColumns(columns or {}, chosen.reward_weights, reward_list, window(steps, last, split))
    place = Path(chosen.out) if chosen.out is not None else Path("runs") / f"follow-{digest(_asked_of(named, asked, format))}"
    return _follow(_Wanted(named, asked, format, allow_pickle, chosen, place, say or (lambda _: None)), every)


def _asked_of(paths: Sequence[Path], asked: LogColumns, format: str) -> dict[str, object]:
    """What tells the run folder of one log that is followed from that of another."""
    return {
        "paths": [str(path.resolve()) for path in paths],
        "columns": {ours: name if name is None or isinstance(name, str) else list(name) for ours, name in asked.names.items()},
        "format": format,
        "weights": asked.weights,
        "lists": asked.lists,
        "window": asked.window.identity(),
    }


def _follow(wanted: _Wanted, every: float) -> Iterator[Run]:
    place = wanted.place
    with _opened(place), scratch_folder() as scratch:
        growing = Growing(KeptRows(scratch), place)
        said = ""
        judged: Stamps = {}
        failed: ImportFormatError | None = None
        while True:
            began = time.monotonic()
            try:
                if _look(growing, wanted.paths):
                    failed = None
                    _say_what_is_gone(judged, growing.files, wanted.say)
                    run, judged = _refresh(growing, wanted), growing.files
                    yield run
                    del run  # not kept while the next is made
                    said = ""
                elif failed is not None and not is_run_folder(place):
                    raise failed
                elif not growing.files:
                    raise ImportFormatError(f"waiting for the first rows in {listed(wanted.paths)}")
            except ImportFormatError as error:
                if error is failed:
                    raise
                failed = error if growing.files else None
                if str(error) != said:
                    wanted.say(said := str(error))
            time.sleep(max(every, time.monotonic() - began))


def _look(growing: Growing, paths: Sequence[Path]) -> bool:
    """Whether there is something new to read; what is not there yet is waited for."""
    try:
        return growing.look(paths) and bool(growing.files)
    except ImportFormatError:
        if growing.files:
            raise
        return False


def _say_what_is_gone(judged: Stamps, files: Stamps, say: Say) -> None:
    """Say which files that were judged are no longer there, or are shorter, as where logs are rotated."""
    less = [path for path, (size, *_) in judged.items() if path not in files or files[path][0] < size]
    if less:
        say(f"{listed(less)}: removed or cut since the last look, so rows that were judged before count no longer.")


@contextmanager
def _opened(place: Path) -> Iterator[None]:
    """Keep a run folder for as long as it is replaced again and again; one that nothing came into is removed again."""
    refuse_addresses(place)
    refuse_strangers(place)
    there = place.exists()
    try:
        (place / "rollouts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the run folder {place}: {error.strerror or error}. Give another --out.") from error
    with lock_folder(place):
        remove_leftovers(place)
        try:
            yield
        finally:
            if not there and not is_run_folder(place):
                shutil.rmtree(place, ignore_errors=True)


def _refresh(growing: Growing, wanted: _Wanted) -> Run:
    """Read and judge the log as it is now, beside the run folder, and put the result in its place."""
    place = wanted.place
    beside = temporary_beside(place / "next")
    try:
        import_logs(wanted.paths, wanted.columns, beside, lambda _: None, wanted.format, allow_pickle=wanted.allow_pickle, growing=growing)
        record = read_record(beside)
        identity = {**record.identity, "followed": as_json(_asked_of(wanted.paths, wanted.columns, wanted.format))}
        _check_same_log(place, identity)
        write_record(beside, replace(record, identity=identity, request=replace(record.request, out=str(place))))
        run = judge_run(beside, wanted.settings, named=place, say=wanted.say)
        judged = run.verdicts, run.summary, run.model
        with judging(place, wanted.say), _uninterrupted():
            for name in _REPLACED:
                if (beside / name).exists():
                    (beside / name).replace(place / name)
                else:
                    (place / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Run(place, True, judged)


def _check_same_log(place: Path, identity: Mapping[str, object]) -> None:
    """Raise `RunFolderError` where a run folder is not of this log and these columns."""
    if not (place / "run.json").exists():
        return
    record = read_record(place)
    if record.kind != "inspect" or "followed" not in record.identity:
        raise RunFolderError(f"{place} is not a run folder of a log that was followed, so it is not replaced. Give another --out.")
    if changed := differences({"": record.identity["followed"]}, {"": identity["followed"]}):
        raise RunFolderError(f"{place} is of another log, or of other columns:\n  " + "\n  ".join(changed) + "\nGive another --out.")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: the files of a run belong together."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before: Callable[..., object] | int | None = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt
