"""Messages between the main process and a reward's worker: a length in 8 bytes, then that many bytes."""

from __future__ import annotations

import struct
from typing import BinaryIO, TypedDict

from flatspot.rewards.spec import Address, Builtin

_LENGTH = struct.Struct("!Q")


class Load(TypedDict):
    """The first request to a worker: what to load (a spec, or the pickle of a function), and where modules are looked for."""

    load: Builtin | Address | bytes
    path: list[str]


class Reply(TypedDict, total=False):
    """What a worker answers, as JSON: `ready` with the hash and the range of a reward that was loaded, `values` of a call, or why neither.

    failed  a message, and the kind of the error in flatspot's own tree
    raised  an exception of the user's code, in one line
    values  number, error, broken and unanswered of each row (`rewards.values.Value`)
    """

    ready: str
    sha256: str | None
    range: tuple[float, float] | None
    values: list[tuple[float | None, str | None, bool, bool]]
    failed: str
    kind: str
    raised: str


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
