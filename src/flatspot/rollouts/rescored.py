"""Score the rows of a run folder with another reward, into a folder of its own: the completions, and what was drawn when, stay the same."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.protocols import Reward
from flatspot.core.records import Completion, Prompt, with_equal_columns
from flatspot.core.schema import PROMPTS, ROLLOUTS, arrow_schema
from flatspot.rollouts.collect import OnProgress, Progress
from flatspot.rollouts.drawn import part_files, read_round
from flatspot.rollouts.files import parquet_writer
from flatspot.rollouts.rounds import Round
from flatspot.rollouts.store import RunFolder, storable
from flatspot.rollouts.tables import read_batches, read_table

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 4096  # completions per call of the reward, and held in memory


def stored_prompts(run: Path) -> list[Prompt]:
    """The prompts of a run folder, with their columns as JSON kept them: a date is text by now."""
    table = read_table(run / "prompts.parquet", [column.name for column in PROMPTS])
    found = [
        Prompt(row["prompt_id"], json.loads(row["prompt"]) if row["is_chat"] else row["prompt"], json.loads(row["columns"]))
        for row in table.to_pylist()
    ]
    return with_equal_columns(found)


def score_again(
    source: Path, run: RunFolder, prompts: Sequence[Prompt], reward: Reward, *, on_progress: OnProgress | None = None
) -> list[Round]:
    """Write each part of `source` into `run` with what `reward` says of its completions; parts that are there are left as they are.

    Returns the rounds of the source. Raises `RunFolderError` where the source holds no completions, where a part of it cannot be read, or
    where `run` has drawn other rounds than the source.
    """
    parts = [part.file for part in part_files(source)]
    if not any(_completions(part) for part in parts):
        raise RunFolderError(f"{source} holds no completions, so there is nothing to score.")
    rounds = _copy_rounds(source, run)
    by_id = {prompt.id: prompt for prompt in prompts}
    done = run.parts_done()
    todo = [part.file for part in part_files(source) if not {(part.round_idx, i) for i in range(part.first, part.last + 1)} <= done]
    meter = _Meter(sum(map(_n_rows, parts)), sum(map(_n_rows, todo)), len(prompts), on_progress)
    for part in todo:
        _score_part(part, run.path / "rollouts" / part.name, by_id, reward, meter)
    return rounds


def _copy_rounds(source: Path, run: RunFolder) -> list[Round]:
    rounds: list[Round] = []
    while (theirs := read_round(source, len(rounds))) is not None:
        ours = run.round(len(rounds))
        if ours is None:
            run.write_round(len(rounds), theirs)
        elif not _equal(ours, theirs):
            raise RunFolderError(f"{run.path} has drawn other samples than {source}, which would not mix. Give another --out.")
        rounds.append(theirs)
    return rounds


def _equal(a: Round, b: Round) -> bool:
    return np.array_equal(a.prompts, b.prompts) and np.array_equal(a.first, b.first) and a.samples == b.samples


def _score_part(part: Path, target: Path, prompts: Mapping[str, Prompt], reward: Reward, meter: _Meter) -> None:
    schema = arrow_schema(ROLLOUTS)
    with parquet_writer(target, schema) as writer:
        for rows in read_batches(part, _ROWS):
            writer.write_table(_scored(rows, schema, prompts, reward))
            meter.scored(rows.num_rows)


def _scored(rows: pa.Table, schema: pa.Schema, prompts: Mapping[str, Prompt], reward: Reward) -> pa.Table:
    """The rows with new columns reward, rewards and error; all others as they were."""
    import pyarrow as pa

    asked = rows.select(["prompt_id", "completion", "n_tokens", "truncated"]).to_pylist()
    at = [i for i, row in enumerate(asked) if row["completion"] is not None and row["prompt_id"] in prompts]
    completions = [Completion(asked[i]["completion"], asked[i]["n_tokens"] or 0, bool(asked[i]["truncated"])) for i in at]
    scores = dict(zip(at, reward.score([prompts[asked[i]["prompt_id"]] for i in at], completions), strict=True))
    given = [scores.get(i) for i in range(len(asked))]
    new = {
        "reward": [score and score.reward for score in given],
        "rewards": [list(score.rewards.items()) if score else None for score in given],
        "error": [
            "there is no completion of a known prompt to score" if score is None else score.error and storable(score.error)
            for score in given
        ],
    }
    columns = [
        pa.array(new[field.name], field.type)
        if field.name in new
        else rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)  # a column that an older flatspot did not write
        for field in schema
    ]
    return pa.table(columns, schema=schema)


class _Meter:
    """Counts what is scored and tells `on_progress`; prompts done are estimated by the share of rows."""

    def __init__(self, rows: int, todo: int, prompts: int, on_progress: OnProgress | None) -> None:
        self.rows, self.done, self.now, self.prompts, self.on_progress = rows, rows - todo, 0, prompts, on_progress
        self.started = time.monotonic()

    def scored(self, rows: int) -> None:
        self.done += rows
        self.now += rows
        if self.on_progress is not None:
            prompts = self.prompts * self.done // max(self.rows, 1)
            seconds = time.monotonic() - self.started
            self.on_progress(Progress(self.done, self.rows, prompts, self.prompts, 0, seconds, self.now))


def _completions(part: Path) -> bool:
    """Whether a part holds any completion."""
    return any(rows["completion"].null_count < rows.num_rows for rows in read_batches(part, _ROWS, ["completion"]))


def _n_rows(part: Path) -> int:
    import pyarrow.parquet as pq

    with part.open("rb") as opened:  # by its name, pyarrow might take it for an address
        return int(pq.read_metadata(opened).num_rows)
