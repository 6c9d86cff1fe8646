"""The start and the end of a watched training, each as a separate run folder, so that both can be judged in the same way."""

from __future__ import annotations

import json
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.core.schema import PROMPTS, ROLLOUTS
from flatspot.rollouts.parts import part_files
from flatspot.rollouts.store import write_json, write_table
from flatspot.rollouts.tables import read_table
from flatspot.training.folders import own_folder
from flatspot.training.watch.wrap import POOLED

SHARE = 0.25
_NAMES = ("run.json", "prompts.parquet", "notes.json", "rollouts")
_CAVEAT = "Completions drawn for updates "


def split_run(run: Path) -> tuple[Path, Path]:
    """RUN/before and RUN/after: the rows of the first and of the last quarter of the updates, without evaluations.

    Raises `RunFolderError` if there are rows of fewer than two updates, or if one of the folders already contains another run.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [read_table(part.file, [column.name for column in ROLLOUTS]) for part in part_files(run)]
    rows = pa.concat_tables([rows.filter(pc.fill_null(pc.not_equal(rows["split"], "eval"), True)) for rows in parts]) if parts else None
    steps = sorted(set(rows["step"].to_pylist()) - {None}) if rows is not None else []
    if rows is None or len(steps) < 2:
        raise RunFolderError(
            f"comparing before and after needs completions of at least two updates, and {run} has {len(steps)}. Train longer."
        )
    few = max(1, int(SHARE * len(steps)))
    notes = json.loads((run / "notes.json").read_text("utf-8"))
    record = json.loads((run / "run.json").read_text("utf-8"))
    prompts = read_table(run / "prompts.parquet", [column.name for column in PROMPTS])
    for name, updates in (("before", steps[:few]), ("after", steps[-few:])):
        folder = run / name
        part = rows.filter(pc.is_in(rows["step"], value_set=pa.array(updates, pa.int64())))
        caveat = f"{_CAVEAT}{updates[0]} to {updates[-1]}, while the policy changed; the last was {steps[-1]}."
        with own_folder(folder, "flatspot train", _NAMES, _is_older):
            (folder / "rollouts").mkdir(exist_ok=True)
            write_table(part, folder / "rollouts" / "part-000-000000.parquet")
            write_table(prompts.filter(pc.is_in(prompts["prompt_id"], value_set=part["prompt_id"])), folder / "prompts.parquet")
            caveats = [text for text in notes.get("caveats", ()) if text != POOLED]
            write_json(
                notes | {"caveats": [caveat, *caveats], "shown": notes.get("shown", {}) | {"out": str(folder)}}, folder / "notes.json"
            )
            write_json(record, folder / "run.json")
    return run / "before", run / "after"


def _is_older(folder: Path) -> bool:
    """Whether a folder without a mark was written by flatspot 0.1, which made no marks."""
    try:
        return any(str(text).startswith(_CAVEAT) for text in json.loads((folder / "notes.json").read_text("utf-8"))["caveats"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
