"""What `flatspot inspect --follow` shows: the report in place on a terminal, a line for each judging elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from flatspot.cli.output import say, show, stopped_by
from flatspot.cli.printing import echo, readable

if TYPE_CHECKING:
    from flatspot.runs.run import Run

_CLEAR, _HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"


def show_following(runs: Iterator[Run], *, every: float, as_json: bool, fail_above: float | None) -> None:
    """Show each run as it is judged, until Ctrl-C; then the last one stands in its folder, whole."""
    live = sys.stdout.isatty() and not as_json
    last: Run | None = None
    try:
        for run in runs:
            first, last = last is None, run
            if as_json:
                _line(_json(last))
            elif live:
                _in_place(last, every, first=first)
            else:
                _line(status(last))
    except KeyboardInterrupt:
        pass
    except RuntimeError as error:
        if str(error) != "Query interrupted":  # what DuckDB makes of Ctrl-C
            raise
    if last is None:
        raise KeyboardInterrupt
    if not as_json:
        show(last, as_json=False, fail_above=fail_above)
    elif fail_above is not None and (why := stopped_by(last.summary, fail_above)):
        say(why)
        click.get_current_context().exit(3)


def _json(run: Run) -> str:
    from flatspot.report.json import to_json

    return to_json(run.summary, indent=None)


def _line(text: str) -> None:
    echo(text)
    sys.stdout.flush()


def status(run: Run) -> str:
    """A judging in a line: when, how much, and what it says."""
    from flatspot.report.formats import noun

    summary = run.summary
    counts = ", ".join(f"{n:,} {name}" for name, n in summary.counts.items() if n)
    verdict = summary.verdict or "no verdict on the set"
    return f"{time.strftime('%H:%M:%S')}  {noun(summary.generations.total, 'completion')}: {verdict} · {counts}"


def _in_place(run: Run, every: float, *, first: bool) -> None:
    """The report over the one before, as much of it as the terminal has lines for."""
    from flatspot.report.run.terminal import render_terminal

    size = shutil.get_terminal_size()
    text = render_terminal(run.summary, width=size.columns, color=True, encoding=sys.stdout.encoding or "ascii")
    foot = f"{time.strftime('%H:%M:%S')}, every {every:g} s; Ctrl-C ends it. All of it: {run.folder / 'report.html'}"[: size.columns - 1]
    shown = [*text.splitlines()[: max(1, size.lines - 2)], foot]
    lines = "".join(f"{readable(line, color=True)}{_REST_OF_LINE}\n" for line in shown)
    sys.stdout.write(f"{_CLEAR if first else ''}{_HOME}{lines}{_REST_OF_SCREEN}")
    sys.stdout.flush()
