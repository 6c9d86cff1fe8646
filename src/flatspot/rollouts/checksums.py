"""A checksum inside a Parquet file, over every byte of it, so that a flipped bit anywhere is found before a number is read.

The file's metadata hold `flatspot_sha256`: the SHA-256 of the file with these 64 digits as zeros. Files without one are taken as they are:
an older flatspot wrote them, or somebody else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

KEY = "flatspot_sha256"
UNSEALED = "0" * 64
_MARK = KEY.encode() + b"\x18\x40"  # as Thrift's compact protocol writes the key, then a text of 64 bytes
_BLOCK = 1 << 20
_FOOTER = (1 << 16, 1 << 28)  # bytes of a footer that are looked through, at least and at most: its own length may be what is damaged


def seal(file: IO[bytes]) -> None:
    """Put the checksum into a Parquet file that is open for reading and writing; `ValueError` where it has no `UNSEALED` under `KEY`."""
    at = _place(file)
    if at is None:
        raise ValueError(f"the Parquet file has no metadata {KEY} of {len(UNSEALED)} zeros to put a checksum into")
    digest = _digest(file, at)
    file.seek(at)
    file.write(digest)
    file.seek(0, 2)


def is_sound(path: Path) -> bool:
    """Whether a Parquet file is what was written, as far as its checksum tells; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        at = _place(file)
        if at is None:
            return True
        file.seek(at)
        return file.read(64) == _digest(file, at)


def _place(file: IO[bytes]) -> int | None:
    """Where the checksum's digits begin; None where there is none."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    if len(tail) < 8:
        return None
    start = max(0, size - 8 - min(max(int.from_bytes(tail[:4], "little"), _FOOTER[0]), _FOOTER[1]))
    file.seek(start)
    at = file.read(size - start).rfind(_MARK)  # rfind: the metadata come last in the footer, after texts of the rows
    return None if at < 0 else start + at + len(_MARK)


def _digest(file: IO[bytes], at: int) -> bytes:
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(_BLOCK):
        lo, hi = max(at - done, 0), min(at + 64 - done, len(block))
        if lo < hi:
            block = block[:lo] + b"0" * (hi - lo) + block[hi:]
        digest.update(block)
        done += len(block)
    return digest.hexdigest().encode()
