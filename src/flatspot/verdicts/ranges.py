"""The range a reward is judged in, and where it comes from."""

from __future__ import annotations

import numpy as np

from flatspot.core.shares import short
from flatspot.stats.evidence import Floats
from flatspot.stats.zones import range_seen
from flatspot.verdicts.caveats import Caveat

Range = tuple[float, float]
GIVEN, _INSIDE = "given", "assumed, as every reward lies inside it"
KNOWN = (GIVEN, _INSIDE)  # of the words for where a range comes from, those of one that rewards will not leave


def reward_range(low: Floats, high: Floats, option: Range | None, own: Range | None) -> tuple[Range, str, list[Caveat]]:
    """((lo, hi), where it comes from, caveats): given by the user, declared by the reward, or read off the rewards of all prompts."""
    ends = (float(np.nanmin(low)), float(np.nanmax(high))) if np.isfinite(low).any() else None
    limits = option or own
    if limits is not None:
        slack = 1e-6 * (limits[1] - limits[0])
        if ends and (ends[0] < limits[0] - slack or ends[1] > limits[1] + slack):
            text = f"Rewards from {short(ends[0])} to {short(ends[1])} lie outside the range {list(limits)}: fix --reward-range."
            return limits, GIVEN, [Caveat("outside-range", text)]
        return limits, GIVEN, []
    if ends is None or (ends[0] >= 0 and ends[1] <= 1):
        return (0.0, 1.0), _INSIDE, []
    source = "guessed around the one reward seen" if ends[0] == ends[1] else "taken from the smallest and largest reward seen"
    return range_seen(*ends), source, []


def usable_range(limits: Range | None) -> Range | None:
    """A reward's own range, where it is one: weights of zero leave none."""
    return limits if limits is not None and limits[0] < limits[1] else None
