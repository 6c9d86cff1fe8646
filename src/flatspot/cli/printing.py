"""Text for the terminal: what strangers wrote (file names, columns, cells, errors of rewards) cannot drive it, or crash it."""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType

import click

_COLOR = re.compile(r"(\x1b\[(?:1;)?(?:[01]|3[1-5]|90)m)")  # those of the report; nothing hides, moves or asks


def echo(text: str, *, err: bool = False, color: bool = False) -> None:
    r"""Print text with every control character made visible; with `color`, the report's own colors stay.

    What the encoding of the stream lacks is printed as an escape: `\u2026` for an ellipsis in Latin-1.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "ascii"
    click.echo(readable(text, color=color).encode(encoding, "backslashreplace").decode(encoding), err=err)


def readable(text: str, *, color: bool = False) -> str:
    r"""The text as `echo` prints it.

    >>> readable("a\x1b[31mb\x1b[2Jc"), readable("a\x1b[31mb\x1b[2Jc", color=True)
    ('a␛[31mb␛[2Jc', 'a\x1b[31mb␛[2Jc')
    """
    from flatspot.report.formats import visible

    if not color:
        return visible(text)
    return "".join(part if i % 2 else visible(part) for i, part in enumerate(_COLOR.split(text)))


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`: a traceback whose messages cannot drive the terminal."""
    sys.stderr.write(readable("".join(traceback.format_exception(kind, error, trace))))
