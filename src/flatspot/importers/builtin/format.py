"""A format of flatspot's own, as a row of a table: what it is called, how it is told, how it is read, and what it hides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatspot.core.errors import ImportFormatError
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.formats import LogFiles, LogRows
from flatspot.importers.sample import Sample, read_sample
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import file_blocks
from flatspot.rollouts.notes import Caveat

Blocks = Callable[[Path, list[Notice]], Iterator[Block]]


@dataclass(frozen=True)
class Format:
    """A format of logs. It fulfils `importers.formats.LogFormat`, as a format of another package does.

    name      as `--format` takes it; several of one name are shapes of one format
    title     what messages call it
    writers   which programs write it
    files     the files, as they lie
    hides     code of a caveat → what of the rollouts the format does not show
    told_by   a file's sample → which variant of the format it is ("" where there is one), or None where it is another format
    arrange   what the columns mean; it raises `ImportFormatError` where no prompt can be judged by the log
    blocks    the rows of a file; of Parquet, which is read where it lies, this is not used
    select    of the files found, those to read
    unsafe    why it is only read with `--allow-pickle`; "" where it is read without
    """

    name: str
    title: str
    writers: str
    files: str
    hides: dict[str, str]
    told_by: Callable[[Sample], str | None]
    arrange: Callable[[Log, Sequence[str]], Arranged]
    blocks: Blocks = file_blocks
    select: Callable[[Sequence[Path]], tuple[list[Path], list[Caveat]]] | None = None
    unsafe: str = ""

    def detect(self, path: Path) -> float:
        """1 for a file of this format, else 0."""
        return float(self.told_by(read_sample(path)) is not None)

    def read(self, paths: Sequence[Path]) -> LogRows:
        """The rows of its files."""
        files, caveats = self.select(paths) if self.select else (list(paths), [])
        variants = tuple(dict.fromkeys(filter(None, (self.told_by(read_sample(path)) for path in files))))
        return LogRows(LogFiles(tuple(files), self.blocks, lambda log: self.arrange(log, variants), variants), caveats)


def refusal(files: Sequence[Path], title: str, why: str, way_on: str) -> ImportFormatError:
    """Why a log of this format cannot be judged, and what can be done instead: two sentences."""
    where = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    return ImportFormatError(f"{where}: a log of {title} that no prompt can be judged by. {why} {way_on}")
