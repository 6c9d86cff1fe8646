"""The verdict in about twenty lines of plain text, with a little colour where the terminal has it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from flatspot.report import blocks
from flatspot.report.formats import count, decimal, fine_percent, noun, number, percent, percent_range, visible
from flatspot.report.run.next_steps import next_steps

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
        "■": "?",
        "●": "o",
        "▼": "v",
        "◆": "+",
        "σ": "s",
        "μ": "m",
    }
)
_ASCII_BAR = {"learnable": "o", "vanishing": "v", "solved": "+", "undecided": "?", "unscored": "x"}


def render_terminal(
    summary: Mapping[str, Any] | blocks.ReportData, *, width: int = 80, color: bool = False, encoding: str = "utf-8"
) -> str:
    """The report as text of at most `width` columns, commands aside; ASCII only where `encoding` is not a UTF.

    Commands are never wrapped, so that they can be copied.
    """
    if isinstance(summary, blocks.ReportData):
        summary = summary.summary
    ascii_only = not encoding.lower().replace("-", "").replace("_", "").startswith("utf")
    width = max(40, min(width, 100))
    text = "\n".join(_lines(summary, width, color, ascii_only))
    return text.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else text


def _lines(summary: Mapping[str, Any], width: int, color: bool, ascii_only: bool) -> Iterator[str]:
    title, tone = blocks.headline(summary)
    rule = blocks.sentence(summary, "rule")
    beside = bool(rule) and len(title) + len(rule) + 10 <= width
    yield _paint(title.upper(), f"1;{_TONE[tone]}", color) + (f"   Rule: {rule}" if beside else "")
    if rule and not beside:
        yield from _wrap(f"Rule: {rule}", width)
    yield from _wrap(blocks.sentence(summary, "reason"), width)
    yield from _composition(summary, width, color, ascii_only)
    yield from _measures(summary, width)
    for i, note in enumerate(blocks.caveats(summary)):
        yield from _labelled("" if i else "Caveats", note, width, color, "- ")
    if steps := next_steps(summary):
        yield ""
        for i, step in enumerate(steps, start=1):
            yield from _labelled("" if i > 1 else "Next", step.text, width, color, f"{i}. ", indent=_STEP)
            if step.command:
                yield f"{' ' * _STEP}{_paint('$', '90', color)} {step.command}"


def _labelled(label: str, text: str, width: int, color: bool, mark: str = "", indent: int = _LABEL) -> Iterator[str]:
    """Wrapped lines with a label before the first of them."""
    first, *rest = _wrap(text, width, " " * indent + mark) or [""]
    yield _paint(label, "1", color) + first[len(label) :]
    yield from rest


def _composition(summary: Mapping[str, Any], width: int, color: bool, ascii_only: bool) -> Iterator[str]:
    found = [share for share in blocks.shares(summary) if share.count]
    total = sum(share.count for share in found)
    if not total:
        yield "No prompts were judged."
        return
    parts = zip(found, _cells([share.count for share in found], width), strict=True)
    yield "".join(
        _paint((_ASCII_BAR[s.verdict.name] if ascii_only else "█" if color else _shade(s.verdict)) * n, s.verdict.ansi, color)
        for s, n in parts
    )
    head = "share of prompts like these [95% limits]" if width >= 62 else "estimated share"
    yield f"  {'':<10} prompts  {head}"
    for share in found:
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
    """Without colour, the verdicts' parts of the bar differ by density."""
    return {"learnable": "█", "vanishing": "░", "solved": "▓", "undecided": "▒", "unscored": "·"}[verdict.name]


def _cells(counts: list[int], width: int) -> list[int]:
    """Bar cells per count, at least one each, `width` in all where that is possible."""
    total = sum(counts)
    cells = [max(1, round(width * n / total)) for n in counts]
    cells[cells.index(max(cells))] += width - sum(cells)
    return cells


def _measures(summary: Mapping[str, Any], width: int) -> Iterator[str]:
    rows = {
        "Reward": _reward(summary),
        "Parts": [_component(name, row) for name, row in blocks.section(summary, "components").items() if isinstance(row, Mapping)],
        "Signal": [_group(row, i == 0) for i, row in enumerate(blocks.forecasts(summary))],
        "Health": [
            *_health(summary),
            *(f"{count(n)} × {_short(message)}" for message, n in blocks.errors(summary)[:2]),
        ],
        "Gradient": _gradients(summary),
        "Cost": _cost(summary),
    }
    if len(rows["Parts"]) < 2:
        del rows["Parts"]  # the only reward function is the total
    for label, parts in rows.items():
        if parts:
            held = " · ".join(part.replace(" ", _HELD) if len(part) < 30 else part for part in parts)
            yield from (line.replace(_HELD, " ") for line in _wrap(held, width, f"{label:<{_LABEL}}"))


def _reward(summary: Mapping[str, Any]) -> list[str]:
    reward = blocks.section(summary, "reward")
    std = blocks.section(reward, "std")
    found = [f"mean {decimal(reward['mean'])} {blocks.reward_range(summary)}".rstrip()] if "mean" in reward else []
    percentiles = [f"{label} {decimal(std[key])}" for key, label in (("p10", "p10"), ("p50", "p50"), ("mean", "mean")) if key in std]
    if percentiles:
        found.append(f"std {', '.join(percentiles)}")
    if "share_below_0.05" in std:
        found.append(f"{percent(std['share_below_0.05'])} < 0.05")
    return found


def _health(summary: Mapping[str, Any]) -> list[str]:
    health = blocks.section(summary, "health")
    words = {"distinct_share": "distinct", "truncated_share": "truncated", "error_share": "reward errors"}
    return [f"{fine_percent(health[key])} {word}" for key, word in words.items() if number(health.get(key)) is not None]


def _gradients(summary: Mapping[str, Any]) -> list[str]:
    found = blocks.section(summary, "gradients")
    if not found:
        return []
    norm, together, times = (blocks.section(found, key) for key in ("norm", "std_and_norm", "bound_over_norm"))
    parts = [f"{noun(found.get('n_prompts', 0), 'prompt')} measured" + (f", {count(n)} not" if (n := found.get("n_failed")) else "")]
    if number(norm.get("p50")) is not None:
        parts.append(f"norm p50 {decimal(norm['p50'])}, max {decimal(norm.get('max'))}")
    if number(together.get("rank_correlation")) is not None:
        parts.append(f"rank correlation with std {decimal(together['rank_correlation'])}")
    if number(times.get("score")) is not None:
        parts.append(f"score bound {decimal(times['score'], 1)} times the norm")
    return parts


def _cost(summary: Mapping[str, Any]) -> list[str]:
    generations = blocks.section(summary, "generations")
    found = []
    if number(generations.get("total")) is not None:
        each = f" ({decimal(generations['per_prompt'], 1)} per prompt)" if "per_prompt" in generations else ""
        found.append(f"{noun(generations['total'], 'generation')}{each}")
    if number(generations.get("tokens")) is not None:
        found.append(f"{count(generations['tokens'])} tokens")
    if number(summary.get("predicted_error")) is not None:
        found.append(f"predicted error {fine_percent(summary['predicted_error'])}")
    return found


def _component(name: str, row: Mapping[str, Any]) -> str:
    return f"{_short(visible(str(name)), 30)} mean {decimal(row.get('mean'))}, std {decimal(row.get('std_mean'))}"


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
