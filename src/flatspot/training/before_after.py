"""The start and the end of a watched training, each as a run folder of its own, so that they can be judged alike."""

from __future__ import annotations

import json
from pathlib import Path

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.store import write_json, write_table

SHARE = 0.25


def split_run(run: Path) -> tuple[Path, Path]:
    """RUN/before and RUN/after: the rows of the first and of the last quarter of the updates, evaluations left out.

    Raises `RunFolderError` where the rows are of fewer than two updates: there is no before and after.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    parts = sorted((run / "rollouts").glob("part-*.parquet"))
    rows = ds.dataset(parts).to_table(filter=ds.field("split").is_null() | (ds.field("split") != "eval")) if parts else None
    steps = sorted(set(rows["step"].to_pylist()) - {None}) if rows is not None else []
    if rows is None or len(steps) < 2:
        raise RunFolderError(
            f"a before and an after take the completions of two updates at least, and {run} has those of {len(steps)}: "
            "train longer to compare."
        )
    few = max(1, int(SHARE * len(steps)))
    said = json.loads((run / "notes.json").read_text("utf-8"))
    record = json.loads((run / "run.json").read_text("utf-8"))
    prompts = pq.read_table(run / "prompts.parquet")
    for name, taken in (("before", steps[:few]), ("after", steps[-few:])):
        folder = run / name
        (folder / "rollouts").mkdir(parents=True, exist_ok=True)
        mine = rows.filter(pc.is_in(rows["step"], value_set=pa.array(taken, pa.int64())))
        caveat = f"Completions drawn for updates {taken[0]} to {taken[-1]}, while the policy changed; the last was {steps[-1]}."
        write_table(mine, folder / "rollouts" / "part-000-000000.parquet")
        write_table(prompts.filter(pc.is_in(prompts["prompt_id"], value_set=mine["prompt_id"])), folder / "prompts.parquet")
        write_json(said | {"caveats": [caveat], "shown": said.get("shown", {}) | {"out": str(folder)}}, folder / "notes.json")
        write_json(record, folder / "run.json")
    return run / "before", run / "after"
