"""Join small files of rows into larger ones: a run of 6,000 parts takes seconds to open, one of 24 files none.

The joined file appears by one rename; only then do the parts go. A process killed between leaves both, of which readers take the joined
one (`parts.part_files`), and the next start deletes the rest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.schema import ROLLOUTS, arrow_schema
from flatspot.rollouts.files import write_table
from flatspot.rollouts.locks import JUDGING_FILE, try_lock
from flatspot.rollouts.parts import PartFile, covered_files, part_file, part_files
from flatspot.rollouts.tables import check_sound, read_table

WINDOW = 256  # parts in a joined file, at most: those whose numbers differ only in the last eight bits
_FEWEST = 8  # files that are worth it
_BYTES = 32 << 20  # of a joined file, about: it is held in memory, and a damaged one is to cost little to draw again


def join_parts(path: Path, round_idx: int, *, closed: bool) -> None:
    """Join the parts of a round that are on disk, window by window; of the last window only if the round is `closed`.

    The caller holds the folder's lock. Nothing happens while somebody judges the rows. A disk without room for the copy keeps the parts.
    Raises `RunFolderError` where a part is damaged.
    """
    lock = try_lock(path, JUDGING_FILE)
    if lock is None:
        return
    with lock:
        remove_covered(path)
        for group in _groups([part for part in part_files(path) if part.round_idx == round_idx], closed=closed):
            _join(path, group)


def remove_covered(path: Path) -> None:
    """Delete the files whose rows another one holds, too; raises `RunFolderError` where that one is damaged, and deletes none."""
    covered = covered_files(path)
    check_sound(dict.fromkeys(by for _, by in covered))
    for file, _ in covered:
        file.unlink(missing_ok=True)


def _groups(parts: Sequence[PartFile], *, closed: bool) -> Iterator[list[PartFile]]:
    """Runs of `_FEWEST` or more neighbors within a window, none much larger than `_BYTES`."""
    group: list[PartFile] = []
    size = 0
    for part in parts:
        own = part.file.stat().st_size
        neighbor = bool(group) and part.first == group[-1].last + 1 and part.first // WINDOW == group[-1].last // WINDOW
        if group and not (neighbor and size + own <= _BYTES):
            yield from [group] if len(group) >= _FEWEST else []
            group, size = [], 0
        group.append(part)
        size += own
    if len(group) >= _FEWEST and (closed or group[-1].last % WINDOW == WINDOW - 1):
        yield group


def _join(path: Path, group: Sequence[PartFile]) -> None:
    import pyarrow as pa

    tables, schema = [read_table(part.file) for part in group], arrow_schema(ROLLOUTS)
    if not all(table.schema.equals(schema) for table in tables):
        return  # an older flatspot wrote other columns: its parts stay as they are
    try:
        write_table(pa.concat_tables(tables), part_file(path, group[0].round_idx, group[0].first, group[-1].last))
    except RunFolderError:
        return  # the disk is full, say: the parts are there, and serve as well
    _flush_names(path / "rollouts")
    for part in group:
        part.file.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """Bring a rename to disk before what it replaces is deleted; where a system cannot, it does so by itself in order."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
