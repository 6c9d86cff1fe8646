"""A log that holds only some groups, picked by their rewards: each prompt is judged, and nothing is said of the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flatspot.runs.summary import Fractions, Mixed
from flatspot.verdicts.caveats import as_caveat
from flatspot.verdicts.summary import Judged

SURVIVORS = "survivors-only"
_REASON = (
    "The log holds only groups whose rewards differ, so it does not show how many prompts vanish: there is no verdict on the set. "
    "Prompts are judged by what is left of them. Log the dropped groups too, or draw new completions: flatspot diagnose."
)


def withhold_survivors(judged: Judged, notes: Sequence[Any]) -> Judged:
    """The judged run without what it says of the set, where a caveat says that a log holds survivors only; else as it is.

    Kept: the verdict of each prompt, and their counts. None: the verdict, the shares, the forecast, the shares of small stds.
    """
    if not any(as_caveat(note).code == SURVIVORS for note in notes):
        return judged
    summary = judged.summary
    std = replace(summary.reward.std, below_1=None, below_2=None, below_5=None)
    summary = replace(
        summary,
        verdict=None,
        reason=_REASON,
        rule="survivors only",
        fractions=Fractions(),
        reward=replace(summary.reward, std=std),
        predicted_error=None,
        predicted_error_limit=None,
        predicted_error_unproved=None,
        forecast={size: Mixed() for size in summary.forecast},
        to_train=replace(summary.to_train, informative=None),
    )
    return replace(judged, summary=summary)
