"""From logs to a run folder that is judged as any other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError, ImportFormatError, SettingsError
from flatspot.core.log_formats import LOG_FORMATS
from flatspot.core.recording import FOLDER as RECORDED
from flatspot.core.recording import recorded_files
from flatspot.core.request import Request
from flatspot.importers.builtin.format import Format
from flatspot.importers.builtin.recorded import RECORDED as RECORDED_FORMAT
from flatspot.importers.detection import added_format, own_format
from flatspot.importers.formats import Added, LogFiles, LogRows
from flatspot.importers.generic import LogColumns, import_generic
from flatspot.importers.growing import Growing
from flatspot.importers.search import SIDE_FILES, check_one_ending, files_below, find_files, is_run_folder, listed, passed_over
from flatspot.readers.in_memory import way_on, write_log
from flatspot.readers.kept import stamp_of
from flatspot.rollouts.identity import digest
from flatspot.rollouts.locks import JUDGING_FILE, lock_folder
from flatspot.rollouts.notes import Caveat, Notes, write_notes
from flatspot.rollouts.parts import part_files, parts_of
from flatspot.rollouts.store import RunFolder, as_json, open_run, read_record, write_request
from flatspot.runs.table import connect

_WAIT_S = 600.0  # for another process that judges the same folder
_OF_JUDGING = ("verdicts.parquet", "report.json", "report.html", "notes.json", "prompts.parquet", "run.json")  # run.json the last


def import_logs(
    paths: Any,
    log_columns: LogColumns,
    out: str | Path | None,
    say: Callable[[str], None],
    format: str = "auto",
    *,
    allow_pickle: bool = False,
    growing: Growing | None = None,
) -> Path:
    """The run folder of some logs; read unless it is there already.

    paths         files or folders; or rows in memory (`readers.in_memory`), which are written to a file for as long as they are read
    format        a name of `importers.detection`
    allow_pickle  also read formats that are pickles
    growing       of a log that is being written: its files as they were looked at; what is not complete in them is left for a later look
    """
    request = _Wanted(log_columns, out, say, format, allow_pickle, growing)
    if isinstance(paths, str | Path) or (isinstance(paths, Sequence) and paths and all(isinstance(path, str | Path) for path in paths)):
        named = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        _refuse_run_folders(named, format)
        added = added_format(format, named, say) if all(path.exists() for path in named) else None  # what is absent is named below
        return _import_files(named, request) if added is None else _import_added(added, named, request)
    if format not in LOG_FORMATS:
        raise SettingsError(f"--format {format} reads files, and these are rows in memory: give them without a format")
    kind = f"{type(paths).__module__}.{type(paths).__name__}".removeprefix("builtins.")
    with tempfile.TemporaryDirectory(prefix="flatspot-log-") as folder:
        try:
            written = write_log(paths, Path(folder))
        except FileError as error:
            raise ImportFormatError(f"{kind}: {error}") from None
        if written is None:
            what = "an empty list" if isinstance(paths, list | tuple) and not paths else f"a {kind}"
            raise ImportFormatError(f"expected logs, got {what}: {way_on(paths)}.")
        name, stamp = f"{kind} (in memory)", {"in_memory": written[1]}
        with _called(name, written[0]):
            return _import_files([written[0]], request, stamp, name)


def import_recording(folder: Path, say: Callable[[str], None]) -> Path:
    """The run folder of a recording, which is the folder itself: its rows are read anew where some were recorded since.

    Raises `ImportFormatError` where nothing was recorded yet.
    """
    files = recorded_files(folder)
    if not files:
        raise ImportFormatError(f"{folder / RECORDED} has no rows yet: the reward has not been called since flatspot.record was.")
    identity = _identity(_stamps(files), LogColumns()) | {"format": RECORDED_FORMAT.title}
    if (folder / "run.json").exists() and not (_is_imported(folder) and read_record(folder).identity == as_json(identity)):
        with lock_folder(folder), lock_folder(folder, JUDGING_FILE, wait_s=_WAIT_S):
            for file in (*(part.file for part in part_files(folder)), *(folder / name for name in _OF_JUDGING)):
                file.unlink(missing_ok=True)
    return _import_files(files, _Wanted(LogColumns(), folder, say, RECORDED_FORMAT.name, allow_pickle=False))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a caller wants of an import, beside the files: see `import_logs`."""

    log_columns: LogColumns
    out: str | Path | None
    say: Callable[[str], None]
    format: str
    allow_pickle: bool
    growing: Growing | None = None


def _refuse_run_folders(paths: Sequence[Path], format: str) -> None:
    """With a format, a folder is a folder of logs: one that flatspot wrote is none."""
    if format != "auto" and (runs := [path for path in paths if is_run_folder(path)]):
        raise ImportFormatError(
            f"{runs[0]} is a run folder of flatspot, not a log in the {format} format: leave --format out to judge it again."
        )


@contextmanager
def _called(name: str, file: Path) -> Iterator[None]:
    """Errors name what a file was written from: the file itself is gone by then."""
    try:
        yield
    except ImportFormatError as error:
        raise ImportFormatError(str(error).replace(str(file), name)) from error.__cause__


def _import_files(paths: Sequence[str | Path], wanted: _Wanted, rows: Mapping[str, str] | None = None, name: str | None = None) -> Path:
    """The run folder of logs in the generic format, or in one of flatspot's own.

    rows, name  of rows in memory: what they depend on, and what they are called
    """
    passed: dict[str, list[Path]] = {}
    growing = wanted.growing
    there = find_files(paths, passed) if growing is None else list(growing.files)
    if growing is not None:
        passed = dict(growing.passed)
    found = own_format(wanted.format, there)
    caveats: list[Caveat] = []
    if found.format is None:
        check_one_ending(found.files)
        read: LogFiles | None = None
        files = found.files
    else:
        own = _read_own(found.format, found.files, wanted.allow_pickle)
        read = own.rows if isinstance(own.rows, LogFiles) else None
        files = read.files if read else found.files
        caveats += own.caveats
        passed.pop(SIDE_FILES, None)  # they are known to lie there
        if found.others:
            passed[f"not of the {found.format.name} format, and passed over"] = list(found.others)
    caveats = [*passed_over(passed), *caveats]
    identity = _identity([rows] if rows else _stamps(files, growing), wanted.log_columns) | (
        {"format": found.format.title} if found.format else {}
    )
    path = _folder(wanted.out, identity)
    with open_run(path, kind="inspect", request=_request(path, [name] if name else files), identity=identity) as run:
        if not _is_imported(path):
            wanted.say(f"reading {len(files)} file{'s' if len(files) > 1 else ''}{_as(found.format, read)} into {path}")
            _write(run, files, wanted, caveats, read, _as(found.format, read))
    return path


def _read_own(format: Format, files: Sequence[Path], allow_pickle: bool) -> LogRows:
    if format.unsafe and not allow_pickle:
        raise ImportFormatError(f"{listed(files)}: a log of {format.title}. {format.unsafe} To read it all the same: --allow-pickle")
    return format.read(files)


def _as(format: Format | None, read: LogFiles | None) -> str:
    """What is read as what, with the variants of the format."""
    if format is None or read is None:
        return ""
    variants = f" ({', '.join(read.variants)})" if read.variants else ""
    return f" as {format.title}{variants}"


def _import_added(added: Added, paths: Sequence[Path], wanted: _Wanted) -> Path:
    """The run folder of logs that a format of another package reads."""
    name = added.extension.name
    identity = _identity(_stamps(files_below(paths)), wanted.log_columns) | {"format": name}
    path = _folder(wanted.out, identity)
    with open_run(path, kind="inspect", request=_request(path, paths), identity=identity) as run:
        if not _is_imported(path):
            wanted.say(f"reading {', '.join(map(str, paths[:3]))}{' …' if len(paths) > 3 else ''} as {name} into {path}")
            with tempfile.TemporaryDirectory(prefix="flatspot-log-") as folder:
                file, caveats = added.write(paths, Path(folder))
                with _called(f"the rows of {name}", file):
                    _write(run, [file], replace(wanted, growing=None), caveats)
    return path


def _identity(stamps: Sequence[Mapping[str, Any]], log_columns: LogColumns) -> dict[str, Any]:
    """What the rows of an import depend on: the files, and what was said of their columns."""
    names = {ours: name if name is None or isinstance(name, str) else list(name) for ours, name in log_columns.names.items()}
    further = {"reward_weights": log_columns.weights, "reward_list": log_columns.lists}
    window = {"window": log_columns.window.identity()} if log_columns.window else {}
    return {"logs": list(stamps), "columns": names} | window | {name: value for name, value in further.items() if value is not None}


def _stamps(files: Sequence[Path], growing: Growing | None = None) -> list[dict[str, Any]]:
    stamps = growing.files if growing is not None else {f: stamp_of(f) for f in files}
    return [{"file": str(f.resolve()), "bytes": stamps[f][0], "modified_ns": stamps[f][1]} for f in files]


def _folder(out: str | Path | None, identity: Mapping[str, Any]) -> Path:
    return Path(out) if out is not None else Path("runs") / f"inspect-{digest(identity)}"


def _is_imported(path: Path) -> bool:
    return bool(parts_of(path)) and all((path / name).exists() for name in ("run.json", "notes.json", "prompts.parquet"))


def _request(path: Path, names: Sequence[str | Path]) -> Request:
    """What is asked of these logs; of ones that were read before, with what their columns were found to mean."""
    request = Request(logs=tuple(map(str, names)), out=str(path))
    if not _is_imported(path):
        return request
    before = read_record(path).request
    return replace(request, columns=before.columns, grouped_by=before.grouped_by, part_weights=before.part_weights)


def _write(
    run: RunFolder,
    files: Sequence[Path],
    wanted: _Wanted,
    caveats: Sequence[Caveat],
    format: LogFiles | None = None,
    read_as: str = "",
) -> None:
    """Read the files into a run folder, with the caveats there were before they were read.

    read_as  how they were read, as it is said
    """
    rollouts, prompts = run.path / "rollouts" / "part-000-000000.parquet", run.path / "prompts.parquet"
    with connect(run.path) as db:
        kept = wanted.growing.kept if wanted.growing else None
        read = import_generic(db, files, wanted.log_columns, rollouts, prompts, format, kept)
    columns = {ours: names if isinstance(names, str) else tuple(names) for ours, names in read.columns.items()}
    request = replace(run.record.request, columns=columns, grouped_by=tuple(read.grouped_by), part_weights=read.weights or None)
    write_request(run.path, run.record, request)
    said = [f"Read{read_as}."] if read_as else []
    write_notes(run.path, Notes(caveats=(*said, *caveats, *read.caveats)))
