"""A training in a few lines: the set before and after, side by side, and the alarms. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flatspot.report.formats import decimal, percent, percent_range

if TYPE_CHECKING:
    from flatspot.runs.summary import Share, Summary


def before_after(before: Summary, after: Summary, alarms: Sequence[Mapping[str, object]]) -> str:
    """Shares with their 95% limits, rewards and reward stds of two summaries, and the alarms of the training between them.

    alarms  of watch.json: cause, step, says
    """
    first, last = before.fractions, after.fractions
    rows = [
        ("", "before", "after"),
        ("prompts", f"{before.n_prompts:,}", f"{after.n_prompts:,}"),
        ("vanishing", _share(first.vanishing), _share(last.vanishing)),
        ("learnable", _share(first.learnable), _share(last.learnable)),
        ("solved", _share(first.solved), _share(last.solved)),
        ("mean reward", _number(before.reward.mean), _number(after.reward.mean)),
        ("mean reward std", _number(before.reward.std.mean), _number(after.reward.std.mean)),
    ]
    lines = [f"{name:<16}{was:>20}{now:>20}" for name, was, now in rows]
    lines.append("")
    lines += [f"Alarm    step {alarm['step']}, {alarm['cause']}: {alarm['says']}" for alarm in alarms] or ["Alarms   none"]
    return "\n".join(lines)


def _share(share: Share) -> str:
    if share.mean is None:
        return "unknown"
    return f"{percent(share.mean)} [{percent_range(share.lo, share.hi)}]"


def _number(value: float | None) -> str:
    return "none" if value is None else decimal(value, 3)
