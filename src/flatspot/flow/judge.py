"""Judge the rows of a run folder: read once, fitted once, written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.provenance import provenance
from flatspot.core.request import Request
from flatspot.core.settings import Settings
from flatspot.rollouts.completeness import check_none_lost, check_rows
from flatspot.rollouts.identity import component_weights
from flatspot.rollouts.locks import judging
from flatspot.rollouts.prompts import read_unscored_answers
from flatspot.rollouts.store import read_record, write_request, write_table
from flatspot.runs.clusters import clusters_of
from flatspot.runs.prompt_steps import prompt_steps
from flatspot.runs.run import Run
from flatspot.stats.zones import achievable
from flatspot.verdicts.caveats import unscored_answers
from flatspot.verdicts.gradients import summarize_gradients
from flatspot.verdicts.over_steps import OverSteps, judge_steps
from flatspot.verdicts.ranges import GIVEN, KNOWN, reward_range
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.summary import Judged
from flatspot.verdicts.undrawn import judge_drawn
from flatspot.verdicts.withheld import SURVIVORS, withhold_survivors

if TYPE_CHECKING:
    import pyarrow as pa


def judge_run(
    folder: Path,
    settings: Settings,
    request: Request | None = None,
    *,
    named: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Judge the rows of a run folder; writes verdicts.parquet, report.json and report.html into it, where it can be written.

    request  what was asked, written into run.json; None: the rows are judged again, and the request stays as it is
    named    the folder that this one is going to replace, and that its reports name

    Raises `RunFolderError` where its rows are gone, or fewer than were judged before.
    """
    from flatspot.report.json import write_json as write_report

    with judging(folder, say) as writable:
        if request is not None and writable:
            write_request(folder, read_record(folder), request)
        run = Run(folder, writable)
        check_rows(folder, run.record)
        check_none_lost(folder, run.record, int(run.table.n_rows.sum()))
        judged = judge_rows(run, settings, request or run.request)
        steps = over_steps(run, judged, settings)
        summary = replace(judged.summary, steps=steps.summary if steps else None)
        if named is not None:
            summary = replace(summary, settings=replace(summary.settings, out=str(named)))
        run = run.judged_as(judged.verdicts, summary, judged.model)
        if writable:
            write_table(judged.verdicts, folder / "verdicts.parquet")
            _write_steps(folder, steps)
            write_report(summary, folder / "report.json")
            run.report()
    return run


def over_steps(run: Run, judged: Judged, settings: Settings) -> OverSteps | None:
    """How the prompts of a training went over its steps; None where the rows say of fewer than two."""
    if run.record.kind == "diagnose" or (rows := prompt_steps(run)) is None:
        return None
    summary, evidence = judged.summary, run.evidence
    limits = summary.reward.range
    judging = judge_settings(settings, limits, run.request, known=summary.reward.range_known)
    r_star = np.full(evidence.n_prompts, judging.reward_hi)
    if summary.reward_model != "binary":
        r_star = achievable(run.table.answer_reward, evidence.high, judging.top)
    return judge_steps(rows, run.ids, r_star, judging, judged.model.scale, survivors=SURVIVORS in summary.caveat_codes)


def _write_steps(folder: Path, steps: OverSteps | None) -> None:
    if steps is not None:
        write_table(steps.table, folder / "steps.parquet")
    else:
        (folder / "steps.parquet").unlink(missing_ok=True)


def judge_rows(run: Run, settings: Settings, request: Request) -> Judged:
    """The verdicts and the summary of a run's rows; nothing is written."""
    table, identity = run.table, run.record.identity
    limits, source, outside = reward_range(table.evidence.low, table.evidence.high, settings.reward_range, request.reward_range)
    cluster_col = settings.cluster_col or request.cluster_col
    table = replace(table, clusters=clusters_of(run.prompts, cluster_col))
    deterministic = settings.deterministic_reward or bool(request.deterministic_reward)
    if run.notes.whole_groups is not None:  # the reward compares within a group: equal completions of two groups differ
        table = replace(table, signs=table.signs.without_repeats())
    elif source == GIVEN and not outside and deterministic and not run.notes.noisy:
        # else the completions that nobody has seen may earn anything, or those that were seen something else: nothing is proved
        table = replace(table, known=run.known)
    unscored = unscored_answers(read_unscored_answers(run.folder))
    notes = [*run.notes.caveats, *unscored, *outside, *repeated_prompts(run.prompts)]
    judged = judge_drawn(
        table,
        run.completeness,
        judge_settings(settings, limits, request, known=source in KNOWN),
        range_source=source,
        notes=notes,
        weights=component_weights(identity.get("reward")) or request.part_weights,
        again=run.notes.noise,
        ranges={name: (lo, hi) for name, (lo, hi) in request.component_ranges.items()},
    )
    judged = withhold_survivors(judged, notes)
    request = replace(
        request,
        target_error=settings.target_error,
        worst_case=settings.worst_case,
        advantage=settings.advantage or request.advantage,
        top_reachable=settings.top_reachable or request.top_reachable,
        cluster_col=cluster_col,
        deterministic_reward=deterministic or None,
        seed=identity.get("seed"),
    )
    summary = replace(
        judged.summary,
        source=run.record.kind,
        sampling=identity.get("sampling", {}),
        engine=identity.get("engine", {}),
        settings=replace(request, out=str(run.folder)),
        gradients=None if run.gradients is None else summarize_gradients(run.gradients),
        provenance=dict(run.record.provenance) | {"judged": provenance()["created"]},
    )
    return Judged(judged.verdicts, summary, judged.model)


def judge_settings(
    settings: Settings, reward_range: tuple[float, float], request: Request | None = None, *, known: bool = True
) -> JudgeSettings:
    """The part of the settings that judging takes, checked.

    request  of the run: what the settings leave open
    known    whether the range is the reward's, and not merely what was seen
    """
    request = request or Request()
    judging = JudgeSettings(
        *reward_range,
        group_size=settings.group_size,
        target_error=settings.target_error,
        worst_case=settings.worst_case,
        advantage=settings.advantage or request.advantage or "centered",
        stated=known,
        top_reachable=settings.top_reachable or bool(request.top_reachable),
    )
    _ = judging.zones  # computed to be checked
    return judging


def repeated_prompts(prompts: pa.Table) -> Sequence[str]:
    """A caveat where prompts have the same text: each is judged, and counts, as one of its own. Empty where none have.

    prompts  with the column `prompt`
    """
    import pyarrow.compute as pc

    texts = prompts["prompt"]
    texts = texts.filter(pc.not_equal(texts, ""))  # of a log that holds ids alone
    repeated = len(texts) - pc.count_distinct(texts).as_py()
    if not repeated:
        return []
    verb = "repeats" if repeated == 1 else "repeat"
    return [f"{repeated} of the {len(texts)} prompts {verb} the text of an earlier one; each counts separately in every share."]
