"""How much of what a run planned to draw is on disk, and what its decider makes of it: a run that was killed is resumed from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.notes import read_notes
from flatspot.rollouts.parts import most_completions, part_files, parts_of, read_rewards, read_rounds, read_seen
from flatspot.rollouts.rounds import Decider, Round
from flatspot.rollouts.store import RunRecord, as_json, read_record


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


def read_completeness(folder: Path, record: RunRecord) -> Completeness | None:
    """What a run folder planned, and what is there of it; None for one that plans nothing: a log, a watched training."""
    if record.kind != "diagnose":
        return None
    rounds, done, missing, lacking = read_rounds(folder), parts_of(folder), 0, 0
    if not rounds:
        return None  # somebody removed what was planned
    for number, this in enumerate(rounds):
        for i, part in enumerate(this.parts(record.rows_per_part)):
            if (number, i) not in done:
                missing += 1
                lacking += len(this.prompts[part]) * this.n_completions
    planned = sum(this.total for this in rounds)
    return Completeness(planned, planned - lacking, missing, read_notes(folder).rounds == len(rounds) and not missing)


@dataclass(frozen=True)
class Replay:
    """The rounds of a run folder, absorbed by who decides on the next one.

    record   of the folder
    rounds   all that were decided on
    whole    how many of them, from the first on, have all their parts on disk
    decider  has absorbed these, and no others
    """

    record: RunRecord
    rounds: tuple[Round, ...]
    whole: int
    decider: Decider


def _replay(path: Path, record: RunRecord, rounds: Sequence[Round], decider: Decider) -> Replay:
    """Let a fresh decider absorb the rounds on disk, up to the first of which a part is missing."""
    notes = read_notes(path)
    done, whole, proves = parts_of(path), 0, decider.proves and notes.whole_groups is None and not notes.noisy
    for number, this in enumerate(rounds):
        if not {(number, i) for i in range(len(this.parts(record.rows_per_part)))} <= done:
            break
        seen = read_seen(path, number, this, record.logprob_error) if proves else None
        decider.absorb(this, read_rewards(path, number, this), seen)
        whole += 1
    return Replay(record, tuple(rounds), whole, decider)


def replay_stored(path: Path, key: Mapping[str, Any], max_completions: int, decider: Callable[[RunRecord], Decider]) -> Replay | None:
    """`Replay` of a run folder that a call may resume; None where there is none of the same request, or it plans more of a prompt.

    decider(record) is a fresh one for this folder
    """
    if not ((path / "run.json").exists() and (path / "prompts.parquet").exists()):
        return None
    record = read_record(path)
    if record.key != as_json(key) or most_completions(rounds := read_rounds(path)) > max_completions:
        return None
    return _replay(path, record, rounds, decider(record))


def replay_opened(path: Path, record: RunRecord, decider: Callable[[RunRecord], Decider], before: Replay | None) -> Replay:
    """`Replay` of a run folder that was opened: the one made before, where it is of this very folder, else a new one."""
    names = ("identity", "rows_per_part", "visit_cost", "provenance")
    if before is not None and all(getattr(before.record, name) == getattr(record, name) for name in names):
        return before
    return _replay(path, record, read_rounds(path), decider(record))


def is_complete(path: Path, replay: Replay | None) -> bool:
    """Whether a run folder holds every completion that this call would draw, and all there is to report of them."""
    if replay is None or replay.whole < len(replay.rounds) or replay.decider.next_round() is not None:
        return False
    return read_notes(path).rounds == replay.whole


def check_rows(folder: Path, record: RunRecord) -> None:
    """Raise `RunFolderError` where a run has no rows, or none any more: its verdicts, made of some, stay as they are."""
    again = "Run the same flatspot inspect as before, which reads the log again."
    if record.kind == "diagnose":
        again = f"Run the same flatspot diagnose as before, with --out {folder}, which draws them (or flatspot rescore, if that made it)."
    if record.kind == "watch":
        again = "They come with the first updates of the training."
    if not part_files(folder):
        raise RunFolderError(f"{folder} holds no rows{' any more' if (folder / 'verdicts.parquet').exists() else ' yet'}. {again}")


def check_none_lost(folder: Path, record: RunRecord, rows: int) -> None:
    """Raise `RunFolderError` where a run was judged on more rows than it has now; those of a training may become fewer as it continues."""
    try:
        before = int(json.loads((folder / "report.json").read_text("utf-8"))["generations"]["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if rows < before and record.kind != "watch":
        raise RunFolderError(
            f"{folder} was judged on {before:,} completions, of which {before - rows:,} are gone from {folder / 'rollouts'}. Its verdicts "
            f"were left as they are. Run the same flatspot {record.kind} as before, which brings them back, or delete "
            f"{folder / 'report.json'} to judge what is left."
        )
