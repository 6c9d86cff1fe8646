"""SkyRL's dumped evaluations: a row per completion, a folder per evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.batches import step_in_path
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import at, nested_blocks
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice

_TURNS = 0.1  # of the rows, from which on they are turns
_KEYS = ("input_prompt", "output_response", "score", "stop_reason", "env_class", "env_extras", "data_source")


def _told(sample: Sample) -> str | None:
    return "evaluation" if sample.has("input_prompt", "output_response", "score", "stop_reason") else None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    step = step_in_path(path.absolute().parent.name, "global_step_([0-9]+)")

    def rows(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        extras = row.get("env_extras")
        stopped = row.get("stop_reason")
        yield {
            "input_prompt": row.get("input_prompt"),
            "output_response": row.get("output_response"),
            "score": row.get("score"),
            "step": step,
            "truncated": stopped == "length" if isinstance(stopped, str) else None,
            "split": EVALUATION,
            "data_source": row.get("data_source"),
            "ground_truth": at(extras, "reward_spec", "ground_truth"),
            "extra_info": at(extras, "extra_info"),
        }

    return nested_blocks(path, notices, _KEYS, rows)


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    groups = f"SELECT count(*) AS n FROM log GROUP BY {log.text('step')}, {log.text('data_source')}, {log.text('input_prompt')}"
    if log.one(f"SELECT max(n) FROM ({groups})")[0] < 2:
        raise refusal(
            log.files,
            "SkyRL",
            "Each prompt has one completion in an evaluation, and other steps have other policies.",
            "Set eval_n_samples_per_prompt to 8 or more, and a sampling temperature of 1.",
        )
    _refuse_turns(log)
    names = {"prompt": "input_prompt", "completion": "output_response", "reward": "score"}
    names |= {name: name for name in ("step", "truncated", "split") if log.has(name)}
    return Arranged(names=names, layout="tokens", policy=log.path("/[^/]*/[^/]*$"), derived={"split": log.text("split")})


def _refuse_turns(log: Log) -> None:
    """Refuse a row per turn, as step-wise evaluations write them: each goes on where another ends, and nothing says which one."""
    prompt, answer = log.text("input_prompt"), log.text("output_response")
    before = f"lag({prompt} || {answer}) OVER (PARTITION BY _file ORDER BY _row)"
    n, turns = log.one(f"SELECT count(*), count_if(starts_with(own, before)) FROM (SELECT {prompt} AS own, {before} AS before FROM log)")
    if turns > _TURNS * n:
        raise refusal(
            log.files,
            "SkyRL",
            f"{turns:,} of {n:,} rows go on where the row before ends: they are turns of an episode, each with a score of its own.",
            "Evaluate without step-wise trajectories, which writes a row per episode.",
        )


SKYRL = Format(
    name="skyrl",
    title="SkyRL",
    writers="SkyRL's evaluations, by default",
    files="`dumped_evals/global_step_10_evals/DATA.jsonl`",
    hides={
        "evaluation-split": "evaluations only: rollouts of the training are not written",
        "several-policies": "each folder has another policy",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)
