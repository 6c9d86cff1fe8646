"""ms-swift's completions.jsonl: a batch a line, in columns, or a completion a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.batches import missing_steps
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import PLACE, spread_columns
from flatspot.importers.builtin.trl import arrange_batches
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import JSON_LINES

_WRITERS = "ms-swift 4 with `--log_completions true`"
_FILES = "`output/v0-20260304-050607/completions.jsonl`"
_HIDES = {
    "several-policies": "each step has another policy",
    "missing-steps": "with `logging_steps` above 1, most steps are not written (not so in the Megatron trainers)",
    "weights-assumed": "the weights of several rewards are not in the file",
    "survivors-only": "with `dynamic_sample` flat groups are drawn anew, and nothing marks it",
    "evaluation-rows": "an evaluation may write its rows among those of the training",
    "repeated-rows": "a batch that is used again is written again",
}


def _told_columns(sample: Sample) -> str | None:
    first = sample.first
    if sample.ending not in JSON_LINES or not sample.has("prompt", "completion") or not ("step" in first or "gen_step" in first):
        return None
    lists = [first[key] for key in ("prompt", "completion", "step" if "step" in first else "gen_step")]
    if not all(isinstance(value, list) for value in lists) or len(set(map(len, lists))) != 1:
        return None
    if lists[0] and isinstance(lists[0][0], dict) and "role" in lists[0][0]:
        return None
    return "columns" if "step" in first else "columns of the Megatron trainer"


def _told_rows(sample: Sample) -> str | None:
    first = sample.first
    if not sample.has("gen_step", "prompt", "completion", "reward"):
        return None
    return "rows" if not any(isinstance(first[key], list) for key in ("gen_step", "reward")) else None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    return spread_columns(path, notices, ("step", "gen_step", "prompt", "completion"))


def _arrange_columns(log: Log, _: Sequence[str]) -> Arranged:
    if log.has("step") and log.has("gen_step"):
        raise refusal(
            log.files,
            "ms-swift",
            "Some lines have the column step and others gen_step: they are of two trainers.",
            "Inspect the files one by one.",
        )
    arranged = arrange_batches(log, "ms-swift", step="step" if log.has("step") else "gen_step", unit="row", order=log.number(PLACE))
    return replace(arranged, survivors="possible", dropped=(*arranged.dropped, PLACE))


def _arrange_rows(log: Log, _: Sequence[str]) -> Arranged:
    step = f"TRY_CAST({log.text('gen_step')} AS BIGINT)"
    return Arranged(
        names={"prompt": "prompt", "completion": "completion", "reward": "reward", "step": "gen_step"},
        survivors="possible",
        caveats=missing_steps(log, step),
    )


SWIFT_COLUMNS = Format("swift", "ms-swift", _WRITERS, _FILES, _HIDES, _told_columns, _arrange_columns, _blocks)
SWIFT_ROWS = Format("swift", "ms-swift (a completion a line)", f"{_WRITERS}, Ray trainers", _FILES, _HIDES, _told_rows, _arrange_rows)
