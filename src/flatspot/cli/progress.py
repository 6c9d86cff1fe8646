"""How far a run has come: a bar that redraws itself on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flatspot.rollouts.progress import OnProgress, Progress, progress_line

_LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(*, silent: bool = False) -> Iterator[OnProgress]:
    """`with progress_bar() as on_progress: collect(…, on_progress=on_progress)`; a silent one, as with --json, shows nothing."""
    if silent:
        yield lambda _: None
        return
    last = time.monotonic()
    bar = sys.stderr.isatty()
    drawn = False

    def on_progress(progress: Progress) -> None:
        nonlocal last, drawn
        text = progress_line(progress)
        if bar:
            sys.stderr.write(f"\r\x1b[2K{_cells(progress)} {text}")
            sys.stderr.flush()
            drawn = True
        elif time.monotonic() - last >= _LINE_EVERY_S:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            last = time.monotonic()

    try:
        yield on_progress
    finally:
        if drawn:
            sys.stderr.write("\n")


def _cells(progress: Progress, width: int = 20) -> str:
    full = round(width * progress.rows_done / max(progress.rows_total, 1))
    return "[" + "#" * full + "." * (width - full) + "]"
