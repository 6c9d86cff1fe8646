"""Lines for the person who watches a training: signed, each on a line of its own, beside progress bars and log entries."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from flatspot.core.visible import visible

_LOG = logging.getLogger("flatspot")


def say(message: str) -> None:
    """Say it on the logger `flatspot`, as a warning; where no logging is set up, on standard error.

    What strangers wrote in it (names, errors of rewards) cannot drive the terminal.
    A progress bar on standard error ends in no new line: it is taken off while the message is written, and drawn again below.
    """
    signed = "\n".join(f"flatspot: {line}" for line in visible(message).splitlines())
    with contextlib.suppress(OSError, ValueError), _without_bars():  # a closed standard error must not stop a training
        if _LOG.hasHandlers():
            _LOG.warning("%s", signed)
        elif _LOG.isEnabledFor(logging.WARNING):
            print(signed, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    bars: Any = getattr(sys.modules.get("tqdm"), "tqdm", None)  # whoever draws bars has imported it
    if not getattr(bars, "_instances", None):
        yield
        return
    if not sys.stderr.isatty():  # a file keeps what was drawn: the message begins a new line there
        print(file=sys.stderr, flush=True)
        yield
        return
    with bars.external_write_mode(file=sys.stderr):
        yield
