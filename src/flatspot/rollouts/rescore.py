"""Score the rows of a run folder with another reward, into a folder of its own: the completions, and what was drawn when, stay the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import RunFolderError
from flatspot.core.protocols import Reward
from flatspot.core.records import Completion, Message, Prompt, with_equal_columns
from flatspot.core.schema import ROLLOUTS, arrow_schema
from flatspot.rollouts.files import parquet_writer
from flatspot.rollouts.locks import judging
from flatspot.rollouts.parts import part_files, parts_of, read_rounds
from flatspot.rollouts.progress import OnProgress, Progress
from flatspot.rollouts.prompts import read_prompt_table
from flatspot.rollouts.rounds import Round
from flatspot.rollouts.store import RunFolder, storable, stored_prompt
from flatspot.rollouts.tables import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 4096  # completions per call of the reward, and held in memory


def stored_prompts(folder: Path) -> list[Prompt]:
    """The prompts of a run folder, each with the columns of all."""
    return with_equal_columns(list(map(stored_prompt, read_prompt_table(folder).to_pylist())))


def whole_groups(source: Path, kind: str, size: int) -> int | None:
    """The group size, where a run consists of whole groups of it that stand together: completions of one prompt, of a log at one step.

    None for triage, and for logs that do not say steps, or whose groups are scattered or of other sizes.
    """
    if kind != "diagnose":
        return size if all(_in_groups(part.file, size) for part in part_files(source)) else None
    rounds = read_rounds(source)
    return size if rounds and all(drawn.fixed and drawn.n_completions % size == 0 for drawn in rounds) else None


def _in_groups(part: Path, size: int) -> bool:
    """Whether each `size` rows of a part, in their order, are all the completions of a prompt at a step."""
    import pyarrow.compute as pc

    earlier: set[str] = set()
    for rows in read_batches(part, size * max(1, _ROWS // size), ["prompt_id", "step", "completion"]):
        if rows.num_rows % size or rows["step"].null_count or rows["completion"].null_count:
            return False
        names = pc.binary_join_element_wise(rows["prompt_id"], rows["step"].cast("string"), "\x1f").to_pylist()
        groups = [set(names[at : at + size]) for at in range(0, len(names), size)]
        if (
            any(len(group) > 1 for group in groups)
            or len(set().union(*groups)) < len(groups)
            or not earlier.isdisjoint(set().union(*groups))
        ):
            return False
        earlier.update(*groups)
    return True


def score_again(
    source: Path,
    run: RunFolder,
    prompts: Sequence[Prompt],
    reward: Reward,
    *,
    on_scored: Callable[[], None] = lambda: None,
    on_progress: OnProgress | None = None,
) -> list[Round]:
    """Write each part of `source` into `run` with what `reward` says of its completions; parts that are there are left as they are.

    on_scored  called after the rows of a part are scored, before the part is there

    Returns the rounds of the source, which may be drawn meanwhile: what it has at the start is scored. Raises `RunFolderError` where the
    source holds no completions, where a part of it cannot be read, or where `run` has drawn other rounds than the source.
    """
    with judging(source):
        parts, wanted = [part.file for part in part_files(source)], parts_of(source)
        if not any(_completions(part) for part in parts):
            raise RunFolderError(f"{source} holds no completions, so there is nothing to score.")
        rounds = _copy_rounds(source, run)
        meter = _Meter(sum(map(_n_rows, parts)), sum(map(_n_rows, _left(source, run, wanted))), len(prompts), on_progress)
    by_id = {prompt.id: prompt for prompt in prompts}
    getattr(reward, "start_counting", lambda: None)()
    while todo := _left(source, run, wanted):
        for part in todo:
            try:
                _score_part(part, run, by_id, reward, meter, on_scored)
            except RunFolderError:
                if part.exists():
                    raise
                break  # a run that is still drawn joins its parts: look again
    if lost := len(wanted - run.parts_done()):
        raise RunFolderError(f"{lost} parts of {source} went away while they were scored. Run the same flatspot rescore again.")
    return rounds


def _left(source: Path, run: RunFolder, wanted: Set[tuple[int, int]]) -> list[Path]:
    """The files of the source with parts that are wanted and not in the run."""
    left = wanted - run.parts_done()
    return [part.file for part in part_files(source) if not left.isdisjoint((part.round_idx, i) for i in range(part.first, part.last + 1))]


def _copy_rounds(source: Path, run: RunFolder) -> list[Round]:
    rounds, ours = read_rounds(source), run.rounds()
    for number, theirs in enumerate(rounds):
        if number >= len(ours):
            run.write_round(number, theirs)
        elif not _equal(ours[number], theirs):
            raise RunFolderError(f"{run.path} has drawn other completions than {source}, which would not mix. Give another --out.")
    return rounds


def _equal(a: Round, b: Round) -> bool:
    return np.array_equal(a.prompts, b.prompts) and np.array_equal(a.first, b.first) and a.n_completions == b.n_completions


def _score_part(
    part: Path, run: RunFolder, prompts: Mapping[str, Prompt], reward: Reward, meter: _Meter, on_scored: Callable[[], None]
) -> None:
    schema, least, size = arrow_schema(ROLLOUTS), _LEAST_MESSAGES.get(run.record.kind), getattr(reward, "group_size", None) or 1
    with parquet_writer(run.path / "rollouts" / part.name, schema) as writer:
        for rows in read_batches(part, max(size, _ROWS - _ROWS % size)):
            writer.write_table(_scored(rows, schema, prompts, reward, least))
            meter.scored(rows.num_rows)
        on_scored()


def _scored(rows: pa.Table, schema: pa.Schema, prompts: Mapping[str, Prompt], reward: Reward, least: int | None) -> pa.Table:
    """The rows with new columns reward, rewards and error; all others as they were."""
    import pyarrow as pa

    is_chat = "completion_is_chat"
    columns_read = rows.select(
        ["prompt_id", "completion", "n_tokens", "truncated", *([is_chat] if is_chat in rows.column_names else [])]
    ).to_pylist()
    at = [i for i, row in enumerate(columns_read) if row["completion"] is not None and row["prompt_id"] in prompts]
    completions = [
        completion_of(row["completion"], row["n_tokens"], row["truncated"], 1 if row.get(is_chat) else least)
        for row in map(columns_read.__getitem__, at)
    ]
    scores = dict(zip(at, reward.score([prompts[columns_read[i]["prompt_id"]] for i in at], completions), strict=True))
    by_row = [scores.get(i) for i in range(len(columns_read))]
    new = {
        "reward": [score and score.reward for score in by_row],
        "rewards": [list(score.rewards.items()) if score else None for score in by_row],
        "error": [
            "there is no completion of a known prompt to score" if score is None else score.error and storable(score.error)
            for score in by_row
        ],
        "copied": [None] * len(by_row),
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


# A completion of a log is stored as the JSON of messages where the column completion_is_chat says so. A watched training stores one message
# of the assistant as its text, and several so. A run of flatspot's own holds what the policy wrote, though that may look like messages.
_LEAST_MESSAGES = {"watch": 2}


def completion_of(text: str, n_tokens: int | None, truncated: bool | None, least: int | None) -> Completion:
    """A stored completion; with `least`, one that is stored as a JSON list of so many messages is these again.

    >>> completion_of('[{"role": "assistant", "content": "4"}]', 1, False, 1).messages
    ({'role': 'assistant', 'content': '4'},)
    """
    messages = read_messages(text) if least is not None else None
    if messages is None or len(messages) < (least or 0):
        return Completion(text, n_tokens or 0, bool(truncated))
    return Completion(answer_of(messages), n_tokens or 0, bool(truncated), messages=messages)


def read_messages(text: str) -> tuple[Message, ...] | None:
    """The messages that a text is the JSON of: a list of objects with a role, and a content or tool calls; None for any other text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):  # the latter of nothing but brackets, say
        return None
    if not (isinstance(messages, list) and messages and all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages)):
        return None
    return tuple(messages) if all("content" in m or "tool_calls" in m for m in messages) else None


def answer_of(messages: Sequence[Message]) -> str:
    """What rewards of text see of messages: the content of the last one of the assistant, or of the last one where it has none."""
    last = next((m for m in reversed(messages) if m["role"] == "assistant"), messages[-1])
    content: object = last.get("content")
    if isinstance(content, list):  # parts, of which pictures have no text
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


class _Meter:
    """Counts what is scored and tells `on_progress`; prompts done are estimated by the share of rows."""

    def __init__(self, rows: int, todo: int, prompts: int, on_progress: OnProgress | None) -> None:
        self.rows, self.done, self.now, self.prompts, self.on_progress = rows, rows - todo, 0, prompts, on_progress
        self.started = time.monotonic()

    def scored(self, rows: int) -> None:
        self.done = min(self.done + rows, self.rows)  # a part is scored twice where it was joined with others meanwhile
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
