"""The verdict in about twenty lines of plain text, with a little color where the terminal has it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flatspot.report import blocks
from flatspot.report.formats import MISSING, count, decimal, fine_percent, noun, percent, percent_range, visible
from flatspot.report.run.next_steps import next_steps
from flatspot.report.run.steps_text import steps_facts

if TYPE_CHECKING:
    from flatspot.runs.summary import Component, Summary

_LABEL = 9  # columns of a label
_HELD = "\u00a0"  # a space at which a line does not break
_STEP = 5  # of the one word before the steps, so that most fit a line
_TONE = {"good": "32", "act": "33", "stop": "31", "plain": "0"}
# what an ASCII terminal gets instead; anything else outside ASCII becomes a question mark
_ASCII = str.maketrans(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "·": ",",
        "…": "...",
        "≤": "<=",
        "≥": ">=",
        "×": "x",
        "→": ">",
        "■": "?",
        "●": "o",
        "▼": "v",
        "◆": "+",
        "σ": "s",
        "μ": "m",
    }
)
_ASCII_BAR = {"learnable": "o", "vanishing": "v", "solved": "+", "undecided": "?", "unscored": "x"}


def render_terminal(summary: Summary, *, width: int = 80, color: bool = False, encoding: str = "utf-8") -> str:
    """The report as text of at most `width` columns, commands aside; ASCII only where `encoding` is not a UTF.

    Commands are never wrapped, so that they can be copied.
    """
    ascii_only = not encoding.lower().replace("-", "").replace("_", "").startswith("utf")
    width = max(40, min(width, 100))
    text = "\n".join(_lines(summary, width, color, ascii_only))
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else text


def _lines(summary: Summary, width: int, color: bool, ascii_only: bool) -> Iterator[str]:
    title, tone = blocks.headline(summary)
    rule = visible(summary.rule)
    beside = bool(rule) and len(title) + len(rule) + 10 <= width
    yield _paint(title.upper(), f"1;{_TONE[tone]}", color) + (f"   Rule: {rule}" if beside else "")
    if rule and not beside:
        yield from _wrap(f"Rule: {rule}", width)
    yield from _wrap(visible(summary.reason), width)
    yield from _composition(summary, width, color, ascii_only)
    yield from _measures(summary, width)
    for i, note in enumerate(blocks.caveats(summary)):
        yield from _labeled("" if i else "Caveats", note, width, color, "- ")
    if steps := next_steps(summary):
        yield ""
        for i, step in enumerate(steps, start=1):
            yield from _labeled("" if i > 1 else "Next", step.text, width, color, f"{i}. ", indent=_STEP)
            if step.command:
                yield f"{' ' * _STEP}{_paint('$', '90', color)} {step.command}"


def _labeled(label: str, text: str, width: int, color: bool, mark: str = "", indent: int = _LABEL) -> Iterator[str]:
    """Wrapped lines with a label before the first of them."""
    first, *rest = _wrap(text, width, " " * indent + mark) or [""]
    yield _paint(label, "1", color) + first[len(label) :]
    yield from rest


def _composition(summary: Summary, width: int, color: bool, ascii_only: bool) -> Iterator[str]:
    shares = [share for share in blocks.shares(summary) if share.count]
    total = sum(share.count for share in shares)
    if not total:
        yield "No prompts were judged."
        return
    parts = zip(shares, _cells([share.count for share in shares], width), strict=True)
    yield "".join(
        _paint((_ASCII_BAR[s.verdict.name] if ascii_only else "█" if color else _shade(s.verdict)) * n, s.verdict.ansi, color)
        for s, n in parts
    )
    line = f"  {'':<10} prompts  share [95% limits for {visible(summary.population)}]"
    yield line if len(line) <= width else f"  {'':<10} prompts  share [95% limits]"
    for share in shares:
        estimated = share.verdict.name not in ("undecided", "unscored")  # the others are labels, and their share is the count's
        interval = percent_range(share.lo, share.hi) if estimated else ""
        glyph = _ASCII_BAR[share.verdict.name] if ascii_only else share.verdict.glyph
        part = percent(share.mean if share.mean is not None else share.count / total) if estimated else ""
        line = f"{share.verdict.name:<10} {count(share.count):>7}  {part:>4} {f'[{interval}]' if interval else '':<10}"
        room = width - len(line) - 5
        yield f"{_paint(glyph, share.verdict.ansi, color)} {line}" + (
            f"  {share.verdict.action}" if len(share.verdict.action) <= room else ""
        )


def _shade(verdict: blocks.Verdict) -> str:
    """Without color, the verdicts' parts of the bar differ by density."""
    return {"learnable": "█", "vanishing": "░", "solved": "▓", "undecided": "▒", "unscored": "·"}[verdict.name]


def _cells(counts: list[int], width: int) -> list[int]:
    """Bar cells per count, at least one each, `width` in all where that is possible."""
    total = sum(counts)
    cells = [max(1, round(width * n / total)) for n in counts]
    cells[cells.index(max(cells))] += width - sum(cells)
    return cells


def _measures(summary: Summary, width: int) -> Iterator[str]:
    rows = {
        "Reward": _reward(summary),
        "Parts": [_component(name, row) for name, row in summary.components.items()],
        "Mixed": [_group(row, i == 0) for i, row in enumerate(blocks.forecasts(summary))],
        "Health": [
            *_health(summary),
            *(f"{count(n)} × {_short(message)}" for message, n in blocks.errors(summary)[:2]),
        ],
        "Steps": steps_facts(summary.steps),
        "Gradient": _gradients(summary),
        "Cost": _cost(summary),
    }
    if len(rows["Parts"]) < 2:
        del rows["Parts"]  # the only reward function is the total
    for label, parts in rows.items():
        if parts:
            held = " · ".join(part.replace(" ", _HELD) if len(part) < 30 else part for part in parts)
            yield from (line.replace(_HELD, " ") for line in _wrap(held, width, f"{label:<{_LABEL}}"))


def _reward(summary: Summary) -> list[str]:
    std = summary.reward.std
    percentiles = ", ".join(f"{label} {decimal(value)}" for label, value in (("p10", std.p10), ("p50", std.p50), ("mean", std.mean)))
    return [
        f"mean {decimal(summary.reward.mean)} {blocks.reward_range(summary)}".rstrip(),
        f"std {percentiles}",
        f"{percent(std.below_5)} < 0.05",
        *([f"judged for {summary.advantage} advantages"] if summary.reward_model not in ("binary", "none") else []),
    ]


def _health(summary: Summary) -> list[str]:
    health = summary.health
    parts = {"distinct": health.distinct_share, "truncated": health.truncated_share, "reward errors": health.error_share}
    return [f"{fine_percent(share)} {word}" for word, share in parts.items() if share is not None]


def _gradients(summary: Summary) -> list[str]:
    measured = summary.gradients
    if measured is None:
        return []
    parts = [f"{noun(measured.n_prompts, 'prompt')} measured" + (f", {count(measured.n_failed)} not" if measured.n_failed else "")]
    if measured.norm.p50 is not None:
        parts.append(f"norm p50 {decimal(measured.norm.p50)}, max {decimal(measured.norm.max)}")
    if (correlation := measured.std_and_norm.rank_correlation) is not None:
        parts.append(f"rank correlation with std {decimal(correlation)}")
    if (times := measured.bound_over_norm.score) is not None:
        parts.append(f"score bound {decimal(times, 1)} times the norm")
    return parts


def _cost(summary: Summary) -> list[str]:
    completions = summary.generations
    parts = [f"{noun(completions.total, 'completion')} ({decimal(completions.per_prompt, 1)} per prompt)"]
    if completions.tokens is not None:
        parts.append(f"{count(completions.tokens)} tokens")
    if summary.predicted_error is not None:
        worst = blocks.error_limit(summary)
        parts.append(f"predicted error {fine_percent(summary.predicted_error)}" + (f", {worst}" if worst else ""))
    if summary.proved is not None:
        parts.append(
            ", ".join(
                filter(None, [f"{count(summary.proved)} of {noun(summary.n_prompts, 'verdict')} proved", blocks.error_of_rest(summary)])
            )
        )
    return parts


def _component(name: str, row: Component) -> str:
    vanishing = blocks.vanishing_count(row)
    text = f"{_short(visible(name), 30)} mean {decimal(row.mean)}, std {decimal(row.std_mean)}"
    return text if vanishing == MISSING else f"{text}, vanishing on {vanishing}"


def _group(row: blocks.Forecast, first: bool) -> str:
    interval = percent_range(row.lo, row.hi)
    return f"{'groups of ' if first else ''}{row.group_size}: {percent(row.informative)}{f' [{interval}]' if interval else ''}"


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _wrap(text: str, width: int, first: str = "") -> list[str]:
    if not text:
        return []
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def _paint(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and text else text
