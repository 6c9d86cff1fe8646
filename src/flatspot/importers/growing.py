"""A log that is being written: which of its files can be read now, and what earlier looks at it have read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flatspot.importers.sample import EVAL, PICKLE, read_sample
from flatspot.importers.search import find_files
from flatspot.readers.files import JSON, PARQUET
from flatspot.readers.kept import KeptRows, stamp_of

Stamps = dict[Path, tuple[int, int, int]]
_END = 64  # bytes: a JSON document that is complete ends in a bracket


@dataclass
class Growing:
    """A log from one look at it to the next.

    kept    the rows that earlier looks have read
    run     the run folder of the log, which may lie among its files
    files   those that the last look found and that can be read, with their stamps
    held    those that cannot yet: they are being written
    passed  why others were passed over
    """

    kept: KeptRows
    run: Path
    files: Stamps = field(default_factory=dict)
    held: tuple[Path, ...] = ()
    passed: dict[str, list[Path]] = field(default_factory=dict)

    def look(self, paths: Sequence[Path]) -> bool:
        """Look which files there are; whether any of them is new, gone or changed. Raises `ImportFormatError` where there are none."""
        passed: dict[str, list[Path]] = {}
        stamps: Stamps = {}
        for path in find_files(paths, passed):
            try:
                stamps[path] = stamp_of(path)
            except OSError:  # it was there a moment ago
                continue
        ready = {path: stamp for path, stamp in stamps.items() if self.files.get(path) == stamp or is_ready(path)}
        changed = ready != self.files
        self.files, self.held = ready, tuple(path for path in stamps if path not in ready)
        own = self.run.resolve()
        self.passed = {why: left for why, all_of in passed.items() if (left := [p for p in all_of if own not in p.resolve().parents])}
        return changed


def is_ready(path: Path) -> bool:
    """Whether a file can be read already: what is being written has no end, or no first line."""
    ending = path.suffix.lower()
    try:
        if ending == PARQUET:
            return bool(read_sample(path).columns)
        if ending in (EVAL, PICKLE):
            return zipfile.is_zipfile(path)
        with path.open("rb") as stream:
            first = stream.readline()
            if ending != JSON:
                return first.endswith(b"\n") or bool(read_sample(path).first)
            stream.seek(max(0, path.stat().st_size - _END))
            return stream.read().rstrip().endswith((b"]", b"}"))
    except OSError:
        return False
