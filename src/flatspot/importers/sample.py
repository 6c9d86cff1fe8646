"""What a file shows of itself without being read whole: the first object of JSON, the columns of Parquet, the names in an archive."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError
from flatspot.readers.blocks import ROW_LIMIT
from flatspot.readers.encodings import open_utf8, text_of
from flatspot.readers.files import JSON, JSON_LINES, PARQUET

EVAL, PICKLE = ".eval", ".pt"
_LINES = 20  # of JSON lines, the first object is looked for in so many
_PICKLED = 4 << 20  # bytes of a pickle in which the names it holds are looked for


@dataclass(frozen=True, slots=True)
class Sample:
    """What tells a file's format.

    first    the first object of a JSON file, or of its first line that is one; of `.json` the whole document, if that is an object
    columns  Parquet's columns: name → type, as Arrow prints it
    inside   names within an archive, or marks within a pickle
    """

    path: Path
    first: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    inside: frozenset[str] = frozenset()

    @property
    def ending(self) -> str:
        """The file's ending, in small letters."""
        return self.path.suffix.lower()

    def has(self, *keys: str) -> bool:
        """Whether its first object has all of these keys."""
        return all(key in self.first for key in keys)


def read_sample(path: Path) -> Sample:
    """The sample of a file; an empty one where nothing can be read, which no format is told by."""
    ending = path.suffix.lower()
    try:
        if ending == PARQUET:
            return Sample(path, columns=_parquet_columns(path))
        if ending == EVAL:
            with zipfile.ZipFile(path) as archive:
                return Sample(path, inside=frozenset(archive.namelist()))
        if ending == PICKLE:
            return Sample(path, inside=_pickled(path))
        if ending == JSON or ending in JSON_LINES:
            return Sample(path, first=_first_object(path, whole=ending == JSON))
    except (OSError, FileError, ValueError, RecursionError, zipfile.BadZipFile):
        pass
    return Sample(path)


def _parquet_columns(path: Path) -> Mapping[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as opened:
            return {field.name: str(field.type) for field in pq.read_schema(opened)}
    except pa.ArrowException:
        return {}


def _first_object(path: Path, *, whole: bool) -> Mapping[str, Any]:
    with open_utf8(path) as stream:
        for _ in range(_LINES):
            line = stream.readline(ROW_LIMIT)
            if not line:
                break
            if (value := _object(text_of(line))) is not None:
                return value
            if whole:  # a document may go on over many lines
                return _object(text_of(line + stream.read())) or {}
    return {}


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text, parse_int=str, parse_float=str)  # a number of 5,000 digits is no reason to fail
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _pickled(path: Path) -> frozenset[str]:
    """Which of the words of a dump of rollouts stand in a pickle of torch's; nothing of it is loaded."""
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
        head = archive.open(name).read(_PICKLED) if name else b""
    return frozenset(word for word in ("rollout_id", "samples", "group_index", "response") if word.encode() in head)
