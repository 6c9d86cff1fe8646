"""What a verb prints at its end, and its exit code."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from flatspot.cli.printing import echo, readable
from flatspot.cli.streams import silence

if TYPE_CHECKING:
    from flatspot.report.json import HasJson
    from flatspot.runs.run import Run
    from flatspot.runs.summary import Summary

_NOT_WRITTEN = "Nothing was written: {} is read-only."


def show(run: Run, *, as_json: bool, fail_above: float | None) -> None:
    """Print the JSON object, or the terminal report and where the HTML one is; exit with 3 above the limit."""
    from flatspot.report.json import to_json
    from flatspot.report.run.terminal import render_terminal

    if as_json:
        text = to_json(run.summary)
    else:
        width, encoding = shutil.get_terminal_size().columns, getattr(sys.stdout, "encoding", None) or "ascii"
        text = render_terminal(run.summary, width=width, color=sys.stdout.isatty(), encoding=encoding)
        place = f"Report   {run.folder / 'report.html'}" if run.written else _NOT_WRITTEN.format(run.folder)
        text += f"\n{readable(place)}"  # a folder's name has no colors
    _echo(text, color=True)
    if as_json and not run.written:
        say(_NOT_WRITTEN.format(run.folder))
    if fail_above is not None and (why := stopped_by(run.summary, fail_above)):
        say(why)
        click.get_current_context().exit(3)


def stopped_by(summary: Summary, fail_above: float) -> str:
    """Why `--fail-above` stops what comes next: too many prompts vanish, or nothing says that they do not; "" where it does not.

    >>> from flatspot.runs.summary import Counts, Fractions, Share, Summary
    >>> shares = {"fractions": Fractions(vanishing=Share(0.1)), "counts": Counts(vanishing=3)}
    >>> stopped_by(Summary(verdict="proceed", **shares), 0.25), stopped_by(Summary(verdict="fix-reward", **shares), 0.25)[:41]
    ('', 'the verdict is fix-reward: whether at mos')
    """
    share = summary.fractions.vanishing.mean
    suspects = summary.counts.vanishing + summary.counts.undecided  # without any the share, never quite 0, means none
    if share is not None and share > fail_above and suspects:
        places = next((n for n in (1, 2, 3, 4) if f"{share:.{n}%}" != f"{fail_above:.{n}%}"), 6)  # until they can be told apart
        return f"{share:.{places}%} of the prompts vanish, more than the {fail_above:.{places}%} of --fail-above"
    if summary.drawn is not None and not summary.drawn.ended:
        return f"the run was stopped before its end: whether at most the {fail_above:.1%} of --fail-above vanish cannot be told yet"
    if summary.verdict in ("fix-reward", "fix-sampling", "draw-more"):
        return f"the verdict is {summary.verdict}: whether at most the {fail_above:.1%} of --fail-above vanish cannot be told yet"
    if summary.verdict is None:
        return f"there is no verdict on the set: whether at most the {fail_above:.1%} of --fail-above vanish cannot be told"
    return ""


def echo_text(text_of: Callable[[int], str]) -> None:
    """Print a text that is laid out for the width of the terminal."""
    _echo(text_of(shutil.get_terminal_size().columns))


def echo_json(summary: HasJson) -> None:
    """Print the one JSON object of `--json`."""
    _echo(json.dumps(summary.to_json(), indent=2, allow_nan=False))


def _echo(text: str, *, color: bool = False) -> None:
    try:
        echo(text, color=color and sys.stdout.isatty())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as `| head` does; what was asked for is done
        silence(1)


def say(message: str) -> None:
    """A line for the person waiting; stderr, so that `--json` stays one object."""
    echo(message, err=True)
