"""Messages between the main process and a reward's worker: a length in 8 bytes, then that many bytes."""

from __future__ import annotations

import struct
from typing import BinaryIO

_LENGTH = struct.Struct("!Q")


def write_frame(stream: BinaryIO, payload: bytes) -> None:
    """Send one message.

    >>> from io import BytesIO
    >>> pipe = BytesIO(); write_frame(pipe, b"abc"); _ = pipe.seek(0); read_frame(pipe), read_frame(pipe)
    (b'abc', None)
    """
    stream.write(_LENGTH.pack(len(payload)) + payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Receive one message; None where the other side is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    payload = stream.read(length)
    return payload if len(payload) == length else None
