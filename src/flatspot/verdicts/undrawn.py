"""A run that was stopped before its end: judged by the prompts that were drawn; the others are undecided, and it says how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatspot.core.schema import VERDICTS, arrow_schema
from flatspot.runs.summary import DrawProgress
from flatspot.runs.table import RunTable
from flatspot.stats.models.fitted import spread
from flatspot.verdicts.caveats import Caveat
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import Judged, judge, labeled_share

if TYPE_CHECKING:
    import pyarrow as pa

    from flatspot.rollouts.completeness import Completeness

_WHY = "This prompt has no completions yet: run the same command again to resume."


def judge_drawn(
    run: RunTable, planned: Completeness | None, settings: JudgeSettings, *, notes: Sequence[Any] = (), **options: Any
) -> Judged:
    """As `judge`, but nothing that is said of the set rests on prompts without a row; they are undecided, not unscored."""
    drawn = run.n_rows > 0
    judged = judge(run if drawn.all() else _of(run, drawn), settings, notes=[*_unfinished(run, planned), *notes], **options)
    if not drawn.all():
        judged = _with_undrawn(judged, run, drawn)
    if planned is None:
        return judged
    summary = replace(judged.summary, drawn=DrawProgress(planned.drawn, planned.completions, planned.ended))
    if not planned.ended:
        summary = replace(summary, reason=f"{_how_much(run, planned)}, so this is provisional. {summary.reason}")
    return Judged(judged.verdicts, summary, judged.model)


def _how_much(run: RunTable, planned: Completeness) -> str:
    prompts, total = int((run.n_rows > 0).sum()), len(run.n_rows)
    return (
        f"The run was stopped at {planned.drawn:,} of the {planned.completions:,} completions it planned so far, "
        f"and {prompts:,} of its {total:,} prompts"
    )


def _unfinished(run: RunTable, planned: Completeness | None) -> list[Caveat]:
    """The caveat of a run that did not end."""
    if planned is None or planned.ended:
        return []
    gap = f": {planned.missing:,} {'part is' if planned.missing == 1 else 'parts are'} missing" if planned.missing else ""
    text = (
        f"This run is not complete{gap}. Set-level numbers rest on the prompts that have completions; those without are "
        "undecided, which is not a fault of the reward. Run the same flatspot diagnose again to resume."
    )
    return [Caveat("incomplete-run", text)]


def _of(run: RunTable, rows: NDArray[np.bool_]) -> RunTable:
    per_prompt = ("prompt_id", "answer_reward", "fair", "n_rows", "distinct_share", "truncated_share", "mean_tokens")
    components = {name: part.subset(rows) for name, part in run.components.items()}
    columns: dict[str, Any] = {name: getattr(run, name)[rows] for name in per_prompt}
    columns["clusters"] = None if run.clusters is None else run.clusters.subset(rows)
    columns["n_not_drawn"] = None if run.n_not_drawn is None else run.n_not_drawn[rows]
    columns["known"] = None if run.known is None else run.known.subset(rows)
    return replace(run, **columns, evidence=run.evidence.subset(rows), components=components, signs=run.signs.subset(rows))


def _with_undrawn(judged: Judged, run: RunTable, drawn: NDArray[np.bool_]) -> Judged:
    """The verdicts and counts of all prompts, those that were not drawn among them as undecided."""
    n, missing = len(drawn), int((~drawn).sum())
    counts = replace(judged.summary.counts, undecided=judged.summary.counts.undecided + missing)
    fractions = replace(judged.summary.fractions, undecided=labeled_share(counts.undecided, n), unscored=labeled_share(counts.unscored, n))
    summary = replace(judged.summary, n_prompts=n, counts=counts, fractions=fractions)
    return Judged(_place_rows(judged.verdicts, run, drawn), summary, spread(judged.model, drawn))


def _place_rows(verdicts: pa.Table, run: RunTable, drawn: NDArray[np.bool_]) -> pa.Table:
    import pyarrow as pa

    schema, m = arrow_schema(VERDICTS), int((~drawn).sum())
    same: dict[str, Any] = {"verdict": ["undecided"] * m, "n_samples": [0] * m, "n_scored": [0] * m, "why": [_WHY] * m}
    same["prompt_id"] = run.prompt_id[~drawn]
    empty = pa.Table.from_arrays(
        [pa.array(same[field.name], field.type) if field.name in same else pa.nulls(m, field.type) for field in schema], schema=schema
    )
    order = np.empty(len(drawn), np.int64)
    order[np.flatnonzero(drawn)] = np.arange(len(drawn) - m)
    order[np.flatnonzero(~drawn)] = np.arange(len(drawn) - m, len(drawn))
    return pa.concat_tables([verdicts, empty]).take(order).combine_chunks()
