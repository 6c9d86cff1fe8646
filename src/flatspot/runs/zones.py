"""The limits between the states that a run was judged by."""

from __future__ import annotations

from flatspot.core.settings import Advantage
from flatspot.runs.summary import Summary
from flatspot.stats.zones import Zones


def zones_of(summary: Summary) -> Zones:
    """The limits between the states that a run was judged by."""
    advantage: Advantage = "normalized" if summary.advantage == "normalized" else "centered"
    known = summary.reward.range_known
    return Zones(summary.epsilon, *summary.reward.range, summary.group_size, advantage, known, None if known else summary.scale)


def top_of(summary: Summary) -> float | None:
    """What every prompt can earn; None where that is not known."""
    return summary.reward.range[1] if summary.settings.top_reachable and summary.reward.range_known else None
