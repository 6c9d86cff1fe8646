"""What a verb prints at its end, and its exit code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from flatspot.cli.printing import echo
from flatspot.cli.streams import silence

if TYPE_CHECKING:
    from flatspot.flow import Diagnosis

_NOT_WRITTEN = "Nothing was written: {} is read-only."


def show(diagnosis: Diagnosis, *, as_json: bool, fail_above: float | None) -> None:
    """Print the JSON object, or the terminal report and where the HTML one is; exit with 3 above the limit."""
    from flatspot.report.json import to_json
    from flatspot.report.terminal import render_terminal

    if as_json:
        text = to_json(diagnosis.summary)
    else:
        width, encoding = shutil.get_terminal_size().columns, getattr(sys.stdout, "encoding", None) or "ascii"
        text = render_terminal(diagnosis.summary, width=width, color=sys.stdout.isatty(), encoding=encoding)
        text += f"\nReport   {diagnosis.run / 'report.html'}" if diagnosis.written else f"\n{_NOT_WRITTEN.format(diagnosis.run)}"
        text = text.encode(encoding, "backslashreplace").decode(encoding)  # a folder's name may hold what the terminal cannot show
    _echo(text)
    if as_json and not diagnosis.written:
        say(_NOT_WRITTEN.format(diagnosis.run))
    share = diagnosis.summary["fractions"]["vanishing"]["mean"]
    counts = diagnosis.summary["counts"]
    suspects = counts["vanishing"] + counts["undecided"]  # the share is an estimate and never quite 0; with no suspect it means none
    if fail_above is not None and share is not None and share > fail_above and suspects:
        places = next((n for n in (1, 2, 3, 4) if f"{share:.{n}%}" != f"{fail_above:.{n}%}"), 6)  # until they can be told apart
        click.echo(f"{share:.{places}%} of the prompts vanish, more than the {fail_above:.{places}%} of --fail-above", err=True)
        click.get_current_context().exit(3)


def echo_text(text_of: Callable[[int], str]) -> None:
    """Print what is made for the terminal's width, in what its encoding has."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    _echo(text_of(shutil.get_terminal_size().columns).encode(encoding, "backslashreplace").decode(encoding))


def _echo(text: str) -> None:
    try:
        echo(text, color=sys.stdout.isatty())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as `| head` does; what was asked for is done
        silence(1)


def say(message: str) -> None:
    """A line for the person waiting; stderr, so that `--json` stays one object."""
    echo(message, err=True)
