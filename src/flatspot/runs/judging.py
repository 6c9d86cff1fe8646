"""Whether what was read of a run folder belongs together: its verdicts, its report.json and its rows may be of different times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.json_tree import damage
from flatspot.core.plain import JsonObject
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.runs.summary import Summary

if TYPE_CHECKING:
    import pyarrow as pa

_NEEDED = ("epsilon", "reward", "group_size", "generations", "fractions")


def read_summary(folder: Path) -> Summary | None:
    """report.json of a run folder, with the folder where it lies now; None where there is none.

    Raises `RunFolderError` where it is damaged, or of a newer flatspot.
    """
    file = folder / "report.json"
    try:
        stored: JsonObject = json.loads(file.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("it is not an object")
        version = stored.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RunFolderError(
                f"{file} was written by a newer flatspot (schema version {version}; this one reads up to {SCHEMA_VERSION}). Upgrade: "
                f"pip install --upgrade flatspot. Or judge the run with this version: flatspot inspect {folder}"
            )
        if lacking := [name for name in _NEEDED if name not in stored]:
            raise ValueError(f"it has no {lacking[0]!r}")
        return _of_folder(Summary.from_json(stored), str(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunFolderError(f"{file} is damaged ({damage(error)}). Judge the run again: flatspot inspect {folder}") from error


def _of_folder(summary: Summary, folder: str) -> Summary:
    return replace(summary, settings=replace(summary.settings, out=folder))


def check_verdicts(folder: Path, verdicts: pa.Table, summary: Summary) -> None:
    """Raise `RunFolderError` where the verdicts are of another judging than the summary: a process was killed between the two files."""
    names = np.asarray(verdicts["verdict"].to_pylist(), dtype=object)
    counts = {name: int((names == name).sum()) for name, _ in summary.counts.items()}
    total = int(np.nansum(verdicts["n_samples"].to_numpy()))
    if counts != dict(summary.counts.items()) or total != summary.generations.total:
        raise RunFolderError(
            f"{folder}: verdicts.parquet and report.json are of two judgings, of which one was interrupted. "
            f"Judge the run again: flatspot inspect {folder}"
        )


def check_rows_judged(folder: Path, summary: Summary, n_rows: int) -> None:
    """Raise `RunFolderError` where a run has other rows than it was judged on: more were drawn since, or some are gone."""
    if n_rows != summary.generations.total:
        raise RunFolderError(
            f"{folder} was judged on {summary.generations.total:,} completions and holds {n_rows:,} now. "
            f"Judge the run again: flatspot inspect {folder}"
        )


def check_last_judging(folder: Path, summary: Summary) -> None:
    """Raise `RunFolderError` where the folder was judged again after this summary was read: its files are newer."""
    stored = read_summary(folder)
    ours = _of_folder(Summary.from_json(summary.to_json()), str(folder))
    if stored is None or stored.to_json() != ours.to_json():
        raise RunFolderError(
            f"{folder} was judged again after this Run was opened, so nothing was written. Open it again: flatspot.open({str(folder)!r})"
        )
