"""Replies that end: within a number of seconds and of bytes, whatever a server sends."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_BYTES = 16 << 20  # a completion of 32,000 tokens with their ids, each character escaped, is about 1 MiB
_PIECE = 1 << 16


class TooLong(http.client.HTTPException):
    """A reply that exceeds `MOST_BYTES`."""


class BoundedResponse(http.client.HTTPResponse):
    """A reply of which status line, headers and body together must come within some seconds and `MOST_BYTES`.

    A socket's own time limit is for each piece: a server that sends a byte now and then would never reach it.
    """

    def __init__(self, sock: socket.socket, *args: Any, seconds: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Bounded(raw, sock, seconds))


class _Bounded(io.RawIOBase):
    """The bytes of a socket until a moment and up to a number."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock, self._end, self._left = raw, sock, time.monotonic() + seconds, MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._sock.settimeout(seconds)
        n: int | None = self._raw.readinto(buffer)
        self._left -= n or 0
        if self._left < 0:
            raise TooLong
        return n

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_whole(response: http.client.HTTPResponse) -> bytes:
    """The body of a reply; raises TooLong, TimeoutError, and IncompleteRead where it ends before the length that it says.

    Read by pieces: asked for all at once, the standard library reserves the length that a server says.
    """
    if response.length is not None and response.length > MOST_BYTES:
        raise TooLong
    pieces = []
    while piece := response.read(_PIECE):
        pieces.append(piece)
    content = b"".join(pieces)
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content
