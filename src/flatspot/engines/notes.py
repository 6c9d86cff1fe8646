"""Notes of engines as log records, so that a notebook shows what the command line prints."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flatspot.core.visible import visible

_LOG = logging.getLogger("flatspot.engines")


_SHOWN = 3


def note_misfit(notes: list[str], problem: str) -> None:
    """Add a note on a prompt that cannot be answered, once, and of the first three alone: every row of one has the reason."""
    note = f"{problem}: its rows have this error"
    if note not in notes and sum(one.endswith(": its rows have this error") for one in notes) < _SHOWN:
        notes.append(note)


def log_notes(notes: Iterable[str]) -> None:
    """Log notes as warnings of the logger `flatspot.engines`: another engine than the one named, a slower mode, a smaller batch.

    No handler is set up: without one, Python prints warnings on standard error.
    """
    for note in notes:
        _LOG.warning("%s", visible(note))
