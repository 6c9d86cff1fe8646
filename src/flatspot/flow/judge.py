"""The rows of a run folder, judged: what `stats` and `verdicts` say of them, and what the folder says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flatspot.core.provenance import provenance
from flatspot.core.settings import Settings
from flatspot.flow.gradients import read_gradients
from flatspot.rollouts.asked import repeated_prompts, weights_of
from flatspot.rollouts.completeness import read_completeness
from flatspot.rollouts.notes import read_notes
from flatspot.rollouts.store import RunRecord
from flatspot.runs.table import RunTable
from flatspot.verdicts.gradients import summarize_gradients
from flatspot.verdicts.ranges import reward_range
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import Judged
from flatspot.verdicts.undrawn import judge_drawn


def judge_folder(
    run: Path,
    record: RunRecord,
    table: RunTable,
    settings: Settings,
    declared_range: tuple[float, float] | None,
    shown: Mapping[str, Any],
    notes: Sequence[Any],
) -> Judged:
    """The verdicts and the summary of a run folder's rows, with what only the folder knows; nothing is written."""
    limits, source, outside = reward_range(table.evidence.low, table.evidence.high, settings.reward_range, declared_range)
    planned = read_completeness(run, record)
    if read_notes(run)["whole_groups"] is not None:  # the reward compares within a group: equal completions of two groups differ
        table = replace(table, signs=table.signs.without_repeats())
    said = [*notes, *outside, *repeated_prompts(run)]
    weights = weights_of(record.identity.get("reward"))
    judged = judge_drawn(table, planned, judge_settings(settings, limits), range_source=source, notes=said, weights=weights)
    judged.summary["source"] = record.kind
    judged.summary["sampling"] = record.identity.get("sampling", {})
    judged.summary["engine"] = record.identity.get("engine", {})
    judged.summary["settings"] = dict(shown) | {
        "target_error": settings.target_error,
        "sure": settings.sure,
        "seed": record.identity.get("seed"),
    }
    if (gradients := read_gradients(run)) is not None:
        judged.summary["gradients"] = summarize_gradients(gradients)
    judged.summary["provenance"] = dict(record.provenance) | {"judged": provenance()["created"]}
    return judged


def judge_settings(settings: Settings, reward_range: tuple[float, float]) -> JudgeSettings:
    """The part of the settings that judging takes, checked."""
    judging = JudgeSettings(*reward_range, settings.group_size, settings.target_error, settings.sure)
    _ = judging.zones  # computed to be checked
    return judging
