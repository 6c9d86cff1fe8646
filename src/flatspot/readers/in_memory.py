"""Tables that are in memory already: anything with Arrow's C stream, a Hugging Face data set, a list of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import FileError
from flatspot.core.plain import plain

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_table(source: Any) -> pa.Table | None:
    """The table of what exports an Arrow C stream (pyarrow, pandas from 2.2, polars, DuckDB) or is a `datasets.Dataset`; else None.

    Raises `FileError` where it cannot be made a table: a column is there twice, or is of a kind that Arrow does not know.

    >>> import pyarrow as pa
    >>> arrow_table(pa.table({"prompt": ["2+2="]})).num_rows, arrow_table(["2+2="])
    (1, None)
    """
    if type(source).__module__.split(".")[0] == "datasets" and hasattr(source, "with_format") and hasattr(source, "__len__"):
        source = source.with_format("arrow")[:] if not isinstance(source, Mapping) else None
    if not hasattr(source, "__arrow_c_stream__"):
        return None
    import pyarrow as pa

    try:
        table = pa.RecordBatchReader.from_stream(source).read_all()
    except pa.ArrowInvalid:  # a stream of values, as of a column, and not of rows
        return None
    except (pa.ArrowException, ValueError, TypeError) as error:  # of pandas
        raise FileError(f"the table cannot be read: {_first_line(error)}") from None
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])  # of pandas


def way_on(source: Any) -> str:
    """What to give in the place of an object that cannot be read.

    >>> way_on({"prompt": ["a"]})
    'of a dict of columns make a table: pyarrow.table(columns)'
    """
    if isinstance(source, Mapping):
        splits = type(source).__module__.split(".")[0] == "datasets"
        return "take one of its splits" if splits else "of a dict of columns make a table: pyarrow.table(columns)"
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return "this data frame exports no Arrow stream: give frame.to_dict('records'), or write a Parquet file"
    if hasattr(source, "__arrow_c_stream__"):
        return "this is a column, not a table: give the table, or list(column)"
    return "give a path, a table with an Arrow stream (pyarrow, pandas, polars), a datasets.Dataset, or a list of rows as dicts"


def write_log(source: Any, folder: Path) -> tuple[Path, str] | None:
    """Write rows that are in memory into `folder` as a log; the file and the SHA-256 of what is in it. None where it is no table or rows.

    A list of dicts becomes JSONL, so that a key that comes late is a column as any other; a table becomes Parquet. Raises `FileError` where
    that has no place for a value.
    """
    table = arrow_table(source)
    if table is not None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = folder / "log.parquet"
        try:
            pq.write_table(table, file)
        except pa.ArrowException as error:
            raise FileError(
                f"the table cannot be written as Parquet: {_first_line(error).rstrip('.')}. Leave the column out, or make it text."
            ) from None
    elif isinstance(source, list | tuple) and source and all(isinstance(row, Mapping) for row in source):
        file = folder / "log.jsonl"
        file.write_text("".join(json_line(row, number) for number, row in enumerate(source, 1)), "utf-8")
    else:
        return None
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


def json_line(row: Mapping[Any, Any], number: int) -> str:
    """A row as a line of JSON; raises `FileError`, which says how many-th it is, where JSON has no place for a value of it."""
    try:
        values = plain(dict(row))
        line = json.dumps(values, allow_nan=False) + "\n"
    except (ValueError, RecursionError) as error:  # more digits, or lists in lists, than JSON is read with
        raise FileError(f"row {number} cannot be written as JSON: {_first_line(error)}. Leave the value out, or make it text.") from None
    if len(values) < len(row):
        raise FileError(f"row {number}: two of its keys are one as text; rename or drop one of them.")
    return line


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).split(";")[0][:300]
