"""What `flatspot compare` prints. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from flatspot.report.blocks import VERDICTS
from flatspot.report.formats import MISSING, count, decimal, noun, percent, signed, visible
from flatspot.report.prompt_line import prompt_line

if TYPE_CHECKING:
    from flatspot.runs.comparison import ChangeLimits, ComparedRun, ComparisonSummary, PairCounts

_VERDICTS = tuple(verdict.name for verdict in VERDICTS)


def compare_text(summary: ComparisonSummary, *, width: int = 80) -> str:
    """The comparison as lines of at most `width` columns."""
    width = max(60, min(width, 100))
    return "\n".join(_lines(summary, width))


def _lines(summary: ComparisonSummary, width: int) -> Iterator[str]:
    pairs = summary.pairs
    yield from _wrap("Shared", _shared(pairs), width)
    yield from _wrap("A", _run(summary.a), width)
    yield from _wrap("B", _run(summary.b), width)
    for i, text in enumerate(summary.caveats):
        yield from _wrap("" if i else "Caveats", f"- {text}", width, "  ")
    yield ""
    yield f"{'':<22}{'A':>9}{'B':>9}   change [95% limits]"
    yield _change("mean reward", summary.mean, decimal, 2)
    yield _change("reward std", summary.std, decimal, 2)
    least, most = summary.sizes.smallest, summary.sizes.largest
    of = f" of {most if least == most else f'{least}–{most}'}" if most else ""
    yield _change(f"mixed groups{of}", summary.mixed, percent, 0)
    yield ""
    yield from _transitions(summary.transitions)
    error = summary.changed_by_error
    yield from _wrap(
        "",
        f"{count(summary.changed_verdicts)} of {noun(pairs.n, 'verdict')} changed. Wrong verdicts, as the runs expect them, account for "
        f"{'fewer than 1' if error < 1 else 'up to about ' + count(error)} of these.",
        width,
        pad=0,
    )
    yield from _most(summary, width)
    for name, ids, n in (("A", summary.alone.a, pairs.only_a), ("B", summary.alone.b, pairs.only_b)):
        if ids:
            more = f" and {count(n - len(ids))} more" if n > len(ids) else ""
            yield from _wrap("", f"In {name} alone: {visible(', '.join(ids))}{more}", width, pad=0)


def _shared(pairs: PairCounts) -> str:
    how = [f"{count(n)} by {word}" for n, word in ((pairs.by_id, "id"), (pairs.by_text, "text")) if n]
    return f"{noun(pairs.n, 'prompt')}, paired {' and '.join(how)}; {count(pairs.only_a)} in A alone, {count(pairs.only_b)} in B alone"


def _run(run: ComparedRun) -> str:
    parts = [run.run, run.model and f"model {run.model}", run.reward and f"reward {', '.join(run.reward)}"]
    parts += [f"{decimal(run.completions_per_prompt, 1)} completions per prompt", run.verdict or "no verdict"]
    return " · ".join(visible(part) for part in parts if part)


def _change(label: str, row: ChangeLimits, write: Callable[[object], str], places: int) -> str:
    """One line of numbers; a share's change is in points of a hundred."""
    if not row.n:
        return f"{label:<22}{MISSING:>9}{MISSING:>9}   {MISSING}"
    scale, unit = (100.0, " points") if write is percent else (1.0, "")
    change, lo, hi = (signed(scale * (value or 0.0), places) for value in (row.change, row.lo, row.hi))
    limits = f"{change}{unit} [{lo} to {hi}]"
    return f"{label:<22}{write(row.before):>9}{write(row.after):>9}   {limits}"


def _transitions(moved: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    columns = [name for name in _VERDICTS if any(moved[row][name] for row in _VERDICTS)]
    yield f"{'verdict in A':<14}→ B{'':<3}" + "".join(f"{name:>11}" for name in columns)
    for row in _VERDICTS:
        if any(moved[row].values()):
            yield f"{row:<20}" + "".join(f"{count(moved[row][name]) if moved[row][name] else '·':>11}" for name in columns)


def _most(summary: ComparisonSummary, width: int) -> Iterator[str]:
    n = summary.pairs.n
    yield from _wrap(
        "",
        f"Mean reward rose on {count(summary.rose)} and fell on {count(summary.fell)} of {noun(n, 'prompt')} by more than each prompt's "
        f"own 95% limits; by chance alone up to about {count(max(1, round(0.05 * n)))} would.",
        width,
        pad=0,
    )
    if not summary.most_changed:
        return
    yield ""
    yield f"{'mean in A':>9}{'in B':>7}   {'change':<17}{'completions':<13}prompt"
    for row in summary.most_changed:
        limits = f"{signed(row.change_lo)} to {signed(row.change_hi)}"
        start = f"{decimal(row.mean_a):>9}{decimal(row.mean_b):>7}   {limits:<17}{f'{row.n_scored_a}, {row.n_scored_b}':<13}"
        yield start + prompt_line(row.prompt, row.is_chat, max(12, width - len(start)), row.prompt_id)


def _wrap(label: str, text: str, width: int, hang: str = "", pad: int = 9) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=f"{label:<{pad}}" if pad else "", subsequent_indent=" " * pad + hang, break_on_hyphens=False
    )
