"""The start and the end of a watched training, each as a separate run folder, so that both can be judged in the same way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.schema import ROLLOUTS
from flatspot.rollouts.notes import write_notes
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.store import write_record, write_table
from flatspot.rollouts.tables import read_table
from flatspot.runs.run import Run
from flatspot.training.folders import own_folder
from flatspot.training.watch.wrap import POOLED

SHARE = 0.25
_NAMES = ("run.json", "prompts.parquet", "notes.json", "rollouts")
_CAVEAT = "Completions drawn for updates "


def split_run(training: Path) -> tuple[Path, Path]:
    """TRAINING/before and TRAINING/after: the rows of the first and of the last quarter of the updates, without evaluations.

    Raises `RunFolderError` if there are rows of fewer than two updates, or if one of the folders already contains another run.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [column.name for column in ROLLOUTS]
    parts = [read_table(part.file, names, optional=("logprob", "copied")) for part in part_files(training)]
    rows = pa.concat_tables([rows.filter(pc.fill_null(pc.not_equal(rows["split"], "eval"), True)) for rows in parts]) if parts else None
    steps = sorted(set(rows["step"].to_pylist()) - {None}) if rows is not None else []
    if rows is None or len(steps) < 2:
        raise RunFolderError(
            f"comparing before and after needs completions of at least two updates, and {training} has {len(steps)}. Train longer."
        )
    few = max(1, int(SHARE * len(steps)))
    run = Run(training)
    for name, updates in (("before", steps[:few]), ("after", steps[-few:])):
        folder = training / name
        part = rows.filter(pc.is_in(rows["step"], value_set=pa.array(updates, pa.int64())))
        caveat = f"{_CAVEAT}{updates[0]} to {updates[-1]}, while the policy changed; the last was {steps[-1]}."
        with own_folder(folder, "flatspot train", _NAMES, _is_older):
            (folder / "rollouts").mkdir(exist_ok=True)
            write_table(part, folder / "rollouts" / "part-000-000000.parquet")
            of_half = pc.is_in(run.prompts["prompt_id"], value_set=part["prompt_id"])
            write_table(run.prompts.filter(of_half), folder / "prompts.parquet")
            others = [text for text in run.notes.caveats if text != POOLED]
            write_notes(folder, replace(run.notes, caveats=(caveat, *others)))
            write_record(folder, replace(run.record, request=replace(run.request, out=str(folder))))
    return training / "before", training / "after"


def _is_older(folder: Path) -> bool:
    """Whether a folder without a mark was written by flatspot 0.1, which made no marks."""
    try:
        return any(str(text).startswith(_CAVEAT) for text in json.loads((folder / "notes.json").read_text("utf-8"))["caveats"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
