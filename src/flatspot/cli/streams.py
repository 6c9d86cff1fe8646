"""Standard streams that are closed, full, or read by nobody: a run is worth more than its talk."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO, cast


def prepare_streams() -> None:
    """Make standard streams that were closed (`<&-`, `>&-`) the null device, and those for output ones that never fail on a character.

    Standard error does not fail on a write either.

    Left closed, the next file opened would take the free descriptor, and what is printed would be written into that file.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:  # so Python found it closed
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot encode is printed as escapes: help pages, names of files
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _Talk(sys.stderr))


def silence(descriptor: int) -> None:
    """What is still to be written to this descriptor goes nowhere; Python would complain of it as it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class _Talk:
    """Standard error as it was, but for writes that fail: nobody listens, and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            silence(2)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            silence(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
