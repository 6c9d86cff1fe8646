"""Messages to the user during a training: prefixed, each on its own line, between progress bars and log entries."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Protocol, TextIO

from flatspot.core.visible import visible

_LOG = logging.getLogger("flatspot")


class _Bars(Protocol):
    """The class `tqdm.tqdm`, as far as it is used."""

    def external_write_mode(self, *, file: TextIO) -> contextlib.AbstractContextManager[None]: ...


def say(message: str) -> None:
    """Log a message as a warning of the logger `flatspot`; if logging is not set up, print it on standard error.

    Control characters in it (in names, or in errors of rewards) are made visible, so that they have no effect on the terminal.
    Progress bars on standard error are cleared while the message is written, and redrawn below it.
    """
    prefixed = "\n".join(f"flatspot: {line}" for line in visible(message).splitlines())
    with contextlib.suppress(OSError, ValueError), _without_bars():  # a closed standard error must not end a training
        if _LOG.hasHandlers():
            _LOG.warning("%s", prefixed)
        elif _LOG.isEnabledFor(logging.WARNING):
            print(prefixed, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    bars: _Bars | None = getattr(sys.modules.get("tqdm"), "tqdm", None)  # imported by whatever draws bars
    if bars is None or not getattr(bars, "_instances", None):
        yield
        return
    if not sys.stderr.isatty():  # in a file the bars stay, so the message starts on a new line
        print(file=sys.stderr, flush=True)
        yield
        return
    with bars.external_write_mode(file=sys.stderr):
        yield
