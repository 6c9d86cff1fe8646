"""Going on with an RL run that was killed: from its last whole checkpoint, without the rows that were drawn after it."""

from __future__ import annotations

import json
from pathlib import Path

from flatspot.rollouts.store import write_table
from flatspot.rollouts.tables import read_table


def last_checkpoint(trainer: Path) -> tuple[Path, int] | None:
    """The checkpoint of the most updates in a trainer's folder that was written to its end, and their number; None where there is none.

    transformers writes trainer_state.json last.
    """
    found = []
    for state in trainer.glob("checkpoint-*/trainer_state.json"):
        try:
            found.append((int(json.loads(state.read_text("utf-8"))["global_step"]), state.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not found:
        return None
    step, folder = max(found)
    return folder, step


def drop_rows_from(run: Path, step: int) -> int:
    """Take the rows of update `step` and later out of a watched run's folder, for they are drawn again; returns how many."""
    import pyarrow.compute as pc

    dropped = 0
    for part in sorted((run / "rollouts").glob("part-*.parquet")):
        rows = read_table(part)
        kept = rows.filter(pc.less(rows["step"], step))
        if kept.num_rows == rows.num_rows:
            continue
        dropped += rows.num_rows - kept.num_rows
        if kept.num_rows:
            write_table(kept, part)
        else:
            part.unlink()
    return dropped
