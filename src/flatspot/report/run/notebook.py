"""What a notebook shows of a run: the headline, the prompts by verdict and the caveats, in a few lines of HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from flatspot.report.blocks import headline
from flatspot.report.formats import percent_range, visible

if TYPE_CHECKING:
    from flatspot.runs.run import Run

_CELL = 'style="text-align:right;padding:0 1em 0 0"'


def notebook_html(run: Run) -> str:
    """The judged run as HTML without styles or scripts of its own, so that it follows the notebook's theme."""
    summary = run.summary
    title, _ = headline(summary)
    rows = "".join(
        f"<tr><td>{name}</td><td {_CELL}>{n}</td><td>{percent_range(share.lo, share.hi)}</td></tr>"
        for name, n in summary.counts.items()
        if (share := getattr(summary.fractions, name)) and n
    )
    caveats = "".join(f"<li>{_text(caveat)}</li>" for caveat in summary.caveats)
    return (
        f"<div><p><strong>{_text(title)}</strong><br>{_text(summary.reason)}</p>"
        f"<table><thead><tr><th>verdict</th><th>prompts</th><th>share of the set, 95%</th></tr></thead><tbody>{rows}</tbody></table>"
        + (f"<ul>{caveats}</ul>" if caveats else "")
        + f"<p><code>{_text(str(run.folder))}</code></p></div>"
    )


def _text(text: str) -> str:
    return escape(visible(text))
