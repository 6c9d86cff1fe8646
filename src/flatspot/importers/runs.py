"""From logs to a run folder that is judged as any other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError, ImportFormatError
from flatspot.core.provenance import provenance
from flatspot.importers.generic import LogColumns, import_generic
from flatspot.importers.search import find_logs
from flatspot.readers.in_memory import way_on, write_log
from flatspot.rollouts.asked import digest
from flatspot.rollouts.store import open_run, write_json
from flatspot.runs.table import connect


def import_logs(paths: Any, given: LogColumns, out: str | Path | None, say: Callable[[str], None]) -> tuple[Path, list[str]]:
    """The run folder of some logs, and what to call them; read unless it is there already.

    paths : files or folders; or rows in memory (`readers.in_memory`), which are written to a file for as long as they are read
    """
    if isinstance(paths, str | Path) or (isinstance(paths, Sequence) and paths and all(isinstance(path, str | Path) for path in paths)):
        path, files = _import_files([paths] if isinstance(paths, str | Path) else paths, given, out, say)
        return path, [str(file) for file in files]
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
        try:
            return _import_files([written[0]], given, out, say, stamp)[0], [name]
        except ImportFormatError as error:  # the file is gone by then
            raise ImportFormatError(str(error).replace(str(written[0]), name)) from error.__cause__


def _import_files(
    paths: Sequence[str | Path],
    given: LogColumns,
    out: str | Path | None,
    say: Callable[[str], None],
    rows: Mapping[str, str] | None = None,
) -> tuple[Path, list[Path]]:
    """The run folder of some logs, and their files; read unless it is there already.

    out : the folder; None names one by the logs and what was said of their columns
    """
    passed_over: list[str] = []
    files = find_logs(paths, passed_over)
    names = {ours: name if name is None or isinstance(name, str) else list(name) for ours, name in given.names.items()}
    stamp = [rows] if rows else [{"file": str(f.resolve()), "bytes": f.stat().st_size, "modified_ns": f.stat().st_mtime_ns} for f in files]
    further = {"reward_weights": given.weights, "reward_list": given.lists}
    identity = {"logs": stamp, "columns": names} | {name: value for name, value in further.items() if value is not None}
    path = Path(out) if out is not None else Path("runs") / f"inspect-{digest(identity)}"
    with open_run(path, kind="inspect", asked=identity, identity=identity, rows_per_part=1, provenance=provenance()) as run:
        if not run.parts_done() or not all((path / name).exists() for name in ("notes.json", "prompts.parquet")):
            say(f"reading {len(files)} file{'s' if len(files) > 1 else ''} into {path}")
            with connect(path) as db:
                found = import_generic(db, files, given, path / "rollouts" / "part-000-000000.parquet", path / "prompts.parquet")
            told = {"caveats": [*passed_over, *found.caveats], "columns": dict(found.columns), "grouped_by": found.grouped_by}
            write_json(told, path / "notes.json")
    return path, files
