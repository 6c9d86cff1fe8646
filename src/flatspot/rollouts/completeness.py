"""How much of what a run planned to draw is there: a run that was killed says so wherever it is shown."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.notes import has_ended, read_notes
from flatspot.rollouts.parts import part_files, parts_of, read_round
from flatspot.rollouts.store import RunRecord


@dataclass(frozen=True)
class Completeness:
    """Of the rounds that were decided on.

    completions, drawn  how many they draw, and how many of these are on disk
    missing             parts of them that are not
    ended               whether nothing is missing and no further round was to come
    """

    completions: int
    drawn: int
    missing: int
    ended: bool


def read_completeness(run: Path, record: RunRecord) -> Completeness | None:
    """What a run folder planned, and what is there of it; None for one that plans nothing: a log, a watched training."""
    if record.kind != "diagnose":
        return None
    done, planned, missing, lacking, rounds = parts_of(run), 0, 0, 0, 0
    for rounds in itertools.count():
        asked = read_round(run, rounds)
        if asked is None:
            break
        planned += asked.rows
        for i, part in enumerate(asked.parts(record.rows_per_part)):
            if (rounds, i) not in done:
                missing += 1
                lacking += len(asked.prompts[part]) * asked.samples
    if rounds == 0:
        return None  # somebody removed what was planned
    return Completeness(planned, planned - lacking, missing, has_ended(read_notes(run), rounds) and not missing)


def check_rows(run: Path, record: RunRecord) -> None:
    """Raise `RunFolderError` where a run has no rows, or none any more: its verdicts, made of some, stay as they are."""
    again = "Run the same flatspot inspect as before, which reads the log again."
    if record.kind == "diagnose":
        again = f"Run the same flatspot diagnose as before, with --out {run}, which draws them (or flatspot rescore, if that made it)."
    if record.kind == "watch":
        again = "They come with the first updates of the training."
    if not part_files(run):
        raise RunFolderError(f"{run} holds no rows{' any more' if (run / 'verdicts.parquet').exists() else ' yet'}. {again}")


def check_none_lost(run: Path, record: RunRecord, rows: int) -> None:
    """Raise `RunFolderError` where a run was judged on more rows than it has now; those of a training may become fewer as it goes on."""
    try:
        before = int(json.loads((run / "report.json").read_text("utf-8"))["generations"]["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if rows < before and record.kind != "watch":
        raise RunFolderError(
            f"{run} was judged on {before:,} completions, of which {before - rows:,} are gone from {run / 'rollouts'}. Its verdicts were "
            f"left as they are. Run the same flatspot {record.kind} as before, which brings them back, or delete {run / 'report.json'} "
            "to judge what is left."
        )
