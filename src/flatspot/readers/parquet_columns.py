"""The columns of many Parquet files, and where their types do not go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import FileError
from flatspot.readers.blocks import check_names

Columns = dict[str, dict[str, list[Path]]]  # column → kind of its type → the files in which it is that


def parquet_columns(files: Sequence[Path]) -> Columns:
    """The columns of all files, in the order of the first file that has each.

    Raises `FileError` where a file cannot be read, a column is there twice, or one is a list or a structure in one file and not in another.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: Columns = {}
    folded: dict[str, str] = {}
    for path in files:
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise FileError(f"{path}: cannot be read as Parquet: {str(error).strip().splitlines()[0][:300]}") from None
        check_names(schema.names, str(path))
        for field in schema:
            if (other := folded.setdefault(field.name.lower(), field.name)) != field.name:
                raise FileError(f"{path}: the columns {other!r} and {field.name!r} differ in case alone; rename or drop one of them.")
            columns.setdefault(field.name, {}).setdefault(_kind(field.type), []).append(path)
    for name, kinds in columns.items():
        _check_kinds(name, kinds)
    return columns


def mixed_numbers(columns: Columns) -> dict[str, list[Path]]:
    """The columns that are whole numbers of 64 bits in some files and decimal numbers in others, with the former files."""
    return {name: kinds["whole numbers"] for name, kinds in columns.items() if {"whole numbers", "decimal numbers"} <= kinds.keys()}


def _kind(of: Any) -> str:
    import pyarrow.types as types

    if types.is_dictionary(of):
        return _kind(of.value_type)
    if types.is_int64(of) or types.is_uint64(of):
        return "whole numbers"
    if types.is_floating(of):
        return "decimal numbers"
    if types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of) or types.is_list_view(of):
        return "lists"
    return "structures" if types.is_struct(of) or types.is_map(of) else "null" if types.is_null(of) else "other values"


def _check_kinds(name: str, kinds: Mapping[str, list[Path]]) -> None:
    valued = {kind: paths for kind, paths in kinds.items() if kind != "null"}
    if len(valued) > 1 and valued.keys() & {"lists", "structures"}:
        each = "; ".join(f"{kind} in {paths[0]}" for kind, paths in valued.items())
        raise FileError(f"the column {name!r} holds {each}. Inspect such files one by one.")
