"""How far a run has come: a bar that redraws itself on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flatspot.rollouts.progress import OnProgress, Progress

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


def progress_line(progress: Progress) -> str:
    """Prompts and completions done, tokens/s where any are drawn, time left.

    >>> progress_line(Progress(512, 640, 32, 40, 24_000, 50.0, 512))
    '32/40 prompts  512/640 completions  480 tokens/s  0:12 left'
    >>> progress_line(Progress(512, 640, 32, 40, 24_000, 50.0, 512, at_most=True))
    '32/40 prompts settled  512 of at most 640 completions  480 tokens/s  at most 0:12 left'
    """
    left, most = progress.seconds_left, progress.at_most
    clock = "" if left is None else f"  {'at most ' if most else ''}{int(left) // 60}:{int(left) % 60:02d} left"
    counts = f"{progress.prompts_done}/{progress.prompts_total} prompts{' settled' if most else ''}  "
    counts += f"{progress.rows_done}{' of at most ' if most else '/'}{progress.rows_total} completions"
    rate = f"  {progress.tokens_per_second:.0f} tokens/s" if progress.tokens else ""
    return f"{counts}{rate}{clock}"


def _cells(progress: Progress, width: int = 20) -> str:
    full = round(width * progress.rows_done / max(progress.rows_total, 1))
    return "[" + "#" * full + "." * (width - full) + "]"
