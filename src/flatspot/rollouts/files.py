"""Write files whole or not at all: into a temporary file beside, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from flatspot.core.errors import RunFolderError
from flatspot.core.leftovers import temporary_beside
from flatspot.core.sql import literal
from flatspot.rollouts.checksums import KEY, UNSEALED, seal

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

_CHECKED = ("run.json", "notes.json", "model.json")
_SHA256 = "sha256"


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet with a checksum (`rollouts.checksums`), whole or not at all."""
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """The same for a table that comes in pieces: `with parquet_writer(path, schema) as writer: writer.write_table(…)`."""
    import pyarrow.parquet as pq

    with write_whole(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            yield writer
            writer.add_key_value_metadata({KEY: UNSEALED})
        seal(file)


def write_query(db: duckdb.DuckDBPyConnection, select: str, path: Path) -> None:
    """Write what a query gives as Parquet with a checksum, whole or not at all; an error of what it reads stays DuckDB's."""
    import duckdb

    temporary = temporary_beside(path).absolute()  # no address, whatever the name
    options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{KEY}: '{UNSEALED}'}}, USE_TMP_FILE false"
    try:
        db.execute(f"COPY ({select}) TO {literal(temporary)} ({options})")
        with temporary.open("r+b") as file:
            seal(file)
            os.fsync(file.fileno())
        temporary.replace(path)
    except (duckdb.IOException, OSError) as error:
        if isinstance(error, duckdb.IOException) and temporary.name not in str(error):
            raise  # it is what the query reads that cannot be read
        reasons = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)]
        why = next((text for text in reasons if text in str(error)), str(error).splitlines()[0])
        raise RunFolderError(f"cannot write {path}: {why}. No partial file was left. Fix this and run again.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write JSON whole or not at all; what decides numbers (`_CHECKED`) with a checksum, which `read_json` compares."""
    if path.name in _CHECKED:
        rest = {name: item for name, item in value.items() if name != _SHA256}
        value = rest | {_SHA256: _digest(rest)}
    with write_whole(path) as file:
        # a file name that is not UTF-8 has lone surrogates, whose escape in Python is their escape in JSON
        file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace"))


def update_json(value: Mapping[str, object], path: Path) -> None:
    """Write JSON where the file has another content, or none; a file that is there and cannot be written stays as it is."""
    if not path.exists() or (os.access(path.parent, os.W_OK) and read_json(path) != json.loads(json.dumps(value))):
        write_json(value, path)


def read_json(path: Path) -> Any:
    """What `write_json` wrote, without its checksum; raises OSError or ValueError where it cannot be read or was changed since."""
    value = json.loads(path.read_text("utf-8"))
    if isinstance(value, dict) and (written := value.pop(_SHA256, None)) is not None and written != _digest(value):
        raise ValueError("its content is not what was written: the checksum differs")
    return value


def _digest(value: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class write_whole:
    """`with write_whole(path) as file`: the file at `path` is replaced when the block ends well, and untouched otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = temporary_beside(path)

    def __enter__(self) -> IO[bytes]:
        try:
            self.file = self.temporary.open("x+b")  # x: never through a link, never into a file that is there
        except OSError as error:
            raise self._failed(error) from error
        return self.file

    def _failed(self, error: OSError) -> RunFolderError:
        why = error.strerror or error
        return RunFolderError(f"cannot write {self.path}: {why}. No partial file was left. Fix this and run again.")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.close()  # Windows renames no open file
                self.temporary.replace(self.path)
                return
        except OSError as late:  # a full disk often shows only here
            error = late
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self.temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._failed(error) from error
