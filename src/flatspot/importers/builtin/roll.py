"""ROLL's rollout dumps: one line a step, in columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import PLACE, spread_columns
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice

_FILES = "`rollout_dump_data.step_0.jsonl`: one per step"
_AGENTIC = ("trajectory_data", "tools", "env_ids", "traj_id", "traj_group_id")


def _told(sample: Sample) -> str | None:
    if not sample.has("responses", "scores", "global_step"):
        return None
    lists = [sample.first[key] for key in ("responses", "scores", "global_step")]
    return "" if all(isinstance(value, list) for value in lists) and len(set(map(len, lists))) == 1 else None


def _told_agentic(sample: Sample) -> str | None:
    first = sample.first
    named = sample.path.name.startswith("rollout_dump_data")
    agentic = any(isinstance(first.get(key), list) for key in _AGENTIC)
    return "" if "scores" not in first and ("trajectory_data" in first or (named and agentic)) else None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    return spread_columns(path, notices, ("prompt", "responses", "scores", "global_step"))


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    prompt = "prompt" if log.has("prompt") else "messages" if log.has("messages") else None
    if prompt is None and not log.has("id"):
        raise refusal(
            log.files, "ROLL", "It has neither prompts nor ids.", "Name the column that tells prompts apart: --prompt-col or --id-col."
        )
    names: dict[str, str | tuple[str, ...]] = {"completion": "responses", "reward": "scores", "step": "global_step"}
    return Arranged(
        names=names | ({"prompt": prompt} if prompt else {}), ids=("id",) if log.has("id") else (), survivors="possible", dropped=(PLACE,)
    )


def _no_scores(log: Log, _: Sequence[str]) -> Arranged:
    raise refusal(
        log.files,
        "ROLL's agentic pipeline",
        "It has trajectories without scores, and its evaluations overwrite the files of the training.",
        "Log the rewards of the environment, or wrap it to record them.",
    )


ROLL = Format(
    name="roll",
    title="ROLL",
    writers="ROLL's RLVR pipeline with `rollout_dump_dir`",
    files=_FILES,
    hides={
        "several-policies": "each step has another policy",
        "survivors-only": "with a query filter only kept groups are written, and nothing marks it",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)
AGENTIC = Format("roll", "ROLL's agentic pipeline", "ROLL's agentic pipeline", _FILES, {}, _told_agentic, _no_scores)
