"""A training in a few lines: the set before and after, side by side, and the alarms. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flatspot.report.formats import decimal, percent, percent_range

_STATES = ("vanishing", "learnable", "solved")


def before_after(before: Mapping[str, Any], after: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> str:
    """Shares with their 95% limits, rewards and informative groups of two summaries, and what was said on the way.

    before, after  summaries, as `--json` prints them
    alarms         of watch.json: cause, step, says
    """
    lines = [f"{'':<16}{'before':>20}{'after':>20}", f"{'prompts':<16}{before['n_prompts']:>20,}{after['n_prompts']:>20,}"]
    for state in _STATES:
        lines.append(f"{state:<16}{_share(before['fractions'][state]):>20}{_share(after['fractions'][state]):>20}")
    lines.append(f"{'mean reward':<16}{_number(before['reward']['mean']):>20}{_number(after['reward']['mean']):>20}")
    lines.append(f"{'mean reward std':<16}{_number(before['reward']['std']['mean']):>20}{_number(after['reward']['std']['mean']):>20}")
    lines.append("")
    lines += [f"Alarm    step {alarm['step']}, {alarm['cause']}: {alarm['says']}" for alarm in alarms] or ["Alarms   none"]
    return "\n".join(lines)


def _share(row: Mapping[str, Any]) -> str:
    if row["mean"] is None:
        return "unknown"
    return f"{percent(row['mean'])} [{percent_range(row['lo'], row['hi'])}]"


def _number(value: float | None) -> str:
    return "none" if value is None else decimal(value, 3)
