"""The rows of a Parquet file as Python values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import FileError
from flatspot.readers.blocks import check_names

if TYPE_CHECKING:
    import pyarrow as pa


def parquet_rows(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The first `limit` rows. A column of dates that Python cannot hold (the year 20,000, nanoseconds) is text.

    Raises `FileError` where the file cannot be read, or a column is there twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            batches, n = [], 0
            for batch in file.iter_batches(batch_size=min(limit or 8192, 8192)):
                batches.append(batch)
                n += len(batch)
                if limit is not None and n >= limit:
                    break
            table = pa.Table.from_batches(batches, file.schema_arrow).slice(0, limit)
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path}: cannot be read as Parquet: {str(error).strip().splitlines()[0][:300]}") from None
    return table_rows(table, str(path))


def table_rows(table: pa.Table, where: str) -> list[dict[str, Any]]:
    """The rows of a table, as `parquet_rows` gives them. Raises `FileError` where a column is there twice."""
    check_names(table.column_names, where)
    columns = [_values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        if not pa.types.is_temporal(column.type):
            raise
        return list(column.cast(pa.string()).to_pylist())
