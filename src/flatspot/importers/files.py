"""From paths to the SQL view `log`: which files, read how, and what in them cannot be read, by file and line.

A JSON line that is damaged is left out and counted; anything else that cannot be read is an error that names the file.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import FileError, ImportFormatError
from flatspot.readers.log import named
from flatspot.readers.log import open_log as read_log

if TYPE_CHECKING:
    import duckdb

_ROW_LIMIT = 32 << 20  # bytes of one JSON object: DuckDB sets buffers of this size aside
_CSV = "read_csv({files}, header = true, union_by_name = true, sample_size = {sample}"
_JSON = f"read_json({{files}}, union_by_name = true, sample_size = {{sample}}, maximum_object_size = {_ROW_LIMIT}, format = "
_READERS = {
    ".csv": _CSV + ")",
    ".tsv": _CSV + ", delim = '\t')",
    ".jsonl": _JSON + "'newline_delimited')",
    ".ndjson": _JSON + "'newline_delimited')",
    ".json": _JSON + "'array')",
    ".parquet": "read_parquet({files}, union_by_name = true)",
}
_TOO_LARGE = f"a row is larger than {_ROW_LIMIT >> 20} MiB. Leave out its completions, or write the file as Parquet."
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # a lone surrogate, which UTF-8 has no bytes for


def open_log(db: duckdb.DuckDBPyConnection, files: Sequence[Path], scratch: Path, caveats: list[str]) -> dict[str, str]:
    """Create the view `log`, as `flatspot.readers.log.open_log` does; a file that cannot be read is an `ImportFormatError`."""
    try:
        return read_log(db, files, scratch, caveats)
    except FileError as error:
        raise ImportFormatError(str(error)) from None


def open_guessed(db: duckdb.DuckDBPyConnection, files: Sequence[Path], scratch: Path, caveats: list[str], *, sample: int) -> dict[str, str]:
    """What `open_log` was, with types told by the first rows: it goes as soon as `generic` reads by our own schema.

    Lines of JSONL that are not JSON objects are left out and counted in `caveats`; `scratch` takes copies of such files. The types are
    told by the first `sample` rows of CSV and JSON, -1 for all of them.

    Raises `ImportFormatError` where there are no rows, a column is there twice, or the files cannot be read; `duckdb.Error` for what
    DuckDB alone can name.
    """
    import duckdb

    ending = files[0].suffix.lower()
    for file in files:
        _check_columns(db, file)
    lines = ending in (".jsonl", ".ndjson")
    try:
        types = _create(db, ending, files, sample)
        if lines:
            db.execute("SELECT count(*) FROM log").fetchone()  # reads every line, so a broken one speaks now
        whole = not lines or "json" not in types  # so DuckDB calls the one column of a file whose lines are not all objects
    except duckdb.InvalidInputException:
        if not lines:
            raise
        whole = False
    if not whole:
        copies = [_whole_lines(path, scratch / f"{i}.jsonl", caveats) for i, path in enumerate(files)]
        types = _create(db, ending, copies, sample)
    if db.execute("SELECT 1 FROM log LIMIT 1").fetchone() is None:
        raise ImportFormatError(f"{named(files)}: there are no rows; expected one per completion, or per prompt with a list of rewards.")
    if ending in (".csv", ".tsv") and len(types) == 1 and any(mark in str(list(types)) for mark in ",;\t"):
        raise ImportFormatError(
            f"{named(files)}: its lines do not split into the same number of cells; a cell that holds a comma or a line break must stand "
            'in double quotes, and a double quote in it must be doubled ("").'
        )
    return types


def what_was_wrong(error: Exception) -> str:
    """What DuckDB said, without its advice on options nobody here can set."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "CSV Error on Line" in lines[0]:
        return f"{lines[0].removeprefix('Invalid Input Error: ')}: {lines[2][:300]}"
    if "maximum_object_size" in lines[0]:
        return _TOO_LARGE
    return lines[0][:300]


def _create(db: duckdb.DuckDBPyConnection, ending: str, files: Sequence[Path], sample: int) -> dict[str, str]:
    """The view `log`; returns its columns' types by name."""
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
    db.execute(f"CREATE OR REPLACE VIEW log AS SELECT * FROM {_READERS[ending].format(files=f'[{listed}]', sample=sample)}")
    return {str(name): str(kind) for name, kind, *_ in db.execute("DESCRIBE log").fetchall()}


def _check_columns(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """DuckDB gives the second of two equal columns another name, and the log would be judged by the first without a word."""
    names = _header(db, file)
    first: dict[str, str] = {}
    for name in names:
        if name.lower() in first:
            other = first[name.lower()]
            same = f"the column {name!r} is there twice" if name == other else f"the columns {other!r} and {name!r} differ in case alone"
            raise ImportFormatError(f"{file}: {same}; rename or drop one of them.")
        first[name.lower()] = name


def _header(db: duckdb.DuckDBPyConnection, file: Path) -> list[str]:
    """The names of a table's columns as they stand in the file; none for JSON, where every row has its own."""
    ending = file.suffix.lower()
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(file).names)
        except (pa.ArrowException, OSError) as error:
            raise ImportFormatError(f"{file}: cannot be read as Parquet: {what_was_wrong(error)}") from None
    if ending not in (".csv", ".tsv"):
        return []
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        start = "".join(itertools.islice(lines, 20))
    head = start.partition("\n")[0]
    delimiter = max(",;\t|", key=head.count) if ending == ".csv" else "\t"
    csv.field_size_limit(1 << 30)
    return [name for name in next(csv.reader(start.splitlines(keepends=True), delimiter=delimiter), []) if name]


def _whole_lines(path: Path, copy: Path, caveats: list[str]) -> Path:
    """A copy of the lines that can be read; those that cannot, and those that were mended, are counted in `caveats`."""
    bad: list[int] = []
    halved = 0
    with copy.open("wb") as target:
        for number, line in _lines(path):
            read = _object(line, f"{path}:{number}")
            if read is None:
                bad.append(number)
                continue
            target.write(read + b"\n")
            halved += read is not line
    if bad and copy.stat().st_size == 0:
        raise ImportFormatError(f"{path}: not one line is a JSON object.")
    if bad:
        lines = "line is not a JSON object and was" if len(bad) == 1 else "lines are not JSON objects and were"
        caveats.append(f"{path.name}: {len(bad)} {lines} left out (the first: line {bad[0]}).")
    if halved:
        caveats.append(f"{path.name}: half characters (lone surrogates) in {halved} line{'s' * (halved > 1)} are shown as \ufffd.")
    return copy


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers."""
    with path.open("rb") as source:
        # bounded, for a file may well be one line
        for number, line in enumerate(iter(lambda: source.readline(_ROW_LIMIT + 1), b""), 1):
            if len(line) > _ROW_LIMIT:
                raise ImportFormatError(f"{path}:{number}: {_TOO_LARGE}")
            line = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if line:
                yield number, line


def _object(line: bytes, where: str) -> bytes | None:
    """The line, with half characters replaced, if it is a JSON object in UTF-8; raises where one of its keys is there twice."""

    def once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
            raise ImportFormatError(f"{where}: the key {twice!r} is there twice; rename or drop one of them.")
        return found

    try:
        text = line.decode()
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if "\\ud" not in text.lower():
        return line
    mended = _HALF_CHARACTER.sub("\ufffd", written := json.dumps(found, ensure_ascii=False))
    return line if mended == written else mended.encode()
