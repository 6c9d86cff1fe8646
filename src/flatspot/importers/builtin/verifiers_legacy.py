"""verifiers' results.jsonl up to 0.3.1: a row per rollout, with messages, and a column per part of the reward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.batches import step_in_path
from flatspot.importers.builtin.format import Format
from flatspot.importers.builtin.nested import dict_of, nested_blocks, text_of_error
from flatspot.importers.builtin.parts import fit_parts
from flatspot.importers.builtin.verifiers_v1 import is_prime
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.readers.files import file_blocks
from flatspot.rollouts.notes import Caveat

_MARKS = ("example_id", "task", "timing", "generation_ms")
_OWN = (
    "id", "example_id", "prompt", "completion", "reward", "answer", "task", "info", "error", "timing", "metrics", "is_completed",
    "is_truncated", "stop_condition", "tool_defs", "generation_ms", "scoring_ms", "total_ms", "state", "token_usage", "trajectory",
    "oai_tools", "split", "step", "num_turns", "flatspot_error",
)  # fmt: skip


def _told(sample: Sample) -> str | None:
    first = sample.first
    if not sample.has("prompt", "completion", "reward") or not any(mark in first for mark in _MARKS):
        return None
    if not all(isinstance(first[key], list | str) for key in ("prompt", "completion")) or isinstance(first["reward"], list):
        return None
    chat = any(isinstance(first[key], list) and all(isinstance(m, dict) for m in first[key]) for key in ("prompt", "completion"))
    return "" if chat else None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    """The rows as they are, with the parts of the reward in columns of their own, and without what nobody needs."""
    prime = path.name.startswith(("train_rollouts", "eval_rollouts"))
    step = step_in_path(path.absolute(), r"/step_([0-9]+)/") if prime else None

    def rows(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        kept = {key: value for key, value in row.items() if key not in ("timing", "trajectory", "state", "tool_defs", "metrics")}
        error = row.get("error")
        yield (
            kept
            | {key: value for key, value in dict_of(row.get("metrics")).items() if key not in _OWN}
            | {
                "flatspot_error": text_of_error(error) if error not in (None, "", False, {}, []) else None,
                "step": step if prime else row.get("step"),
                "split": ("train" if path.name.startswith("train") else EVALUATION) if prime else EVALUATION,
            }
        )

    for block in file_blocks(path, notices):
        yield from nested_blocks(path, notices, list(block.columns), rows, [block])


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    caveats: list[Caveat] = []
    error = log.text("flatspot_error")
    failed = f"CASE WHEN {error} IS NOT NULL AND coalesce({log.number('reward')}, 0) = 0 THEN {error} END"
    if n := log.one(f"SELECT count({failed}) FROM log")[0]:
        caveats.append(("errors-not-zeros", f"{n:,} rollouts failed, with a reward of 0: they are errors here."))
    scored = f"{failed} IS NULL"
    parts = fit_parts(log, log.number("reward"), log.numeric([name for name in log.types if name not in _OWN and name[0] != "_"]), scored)
    id_column = next((name for name in ("example_id", "id") if log.has(name)), None)
    group_by = _grouping(log, id_column, caveats)
    names: dict[str, str | tuple[str, ...]] = {
        "prompt": "prompt",
        "completion": "completion",
        "reward": "reward",
        "error": "flatspot_error",
    }
    names |= {ours: column for ours, column in (("truncated", "is_truncated"), ("step", "step")) if log.has(column)}
    return Arranged(
        names=names | {"split": "split", "part": tuple(parts)},
        group_by=group_by,
        parts={name: name for name in parts},
        part_weights={name: weight for name, weight in parts.items() if weight is not None},
        derived={"flatspot_error": failed, "split": log.text("split")},
        caveats=caveats,
        policy=f"CASE WHEN regexp_matches({log.path()}, '/rollouts/step_') THEN {log.path('/rollouts/step_.*$')} "
        f"ELSE regexp_extract({log.path()}, '--([^/]*)/[^/]*/[^/]*$', 1) END",  # ENV--MODEL/RUN/results.jsonl
    )


def _grouping(log: Log, id_column: str | None, caveats: list[Caveat]) -> tuple[str, ...]:
    """The id, where each of its values has one prompt and answer; else the prompt and the answer."""
    both = ("prompt", "answer") if log.has("answer") else ()
    if id_column is None:
        return both
    example = f"({', '.join(log.text(column) for column in both or ('prompt',))})"
    each = f"SELECT {log.text(id_column)} AS id, count(DISTINCT {example}) AS n FROM log GROUP BY 1"
    wrong, n = log.one(f"SELECT count_if(n > 1), count(*) FROM ({each} HAVING id IS NOT NULL)")
    if n and not wrong:
        return (id_column,)
    if n:
        text = f"`{id_column}` has several prompts on {wrong} of {n} values, as in verifiers 0.1.3 to 0.1.5: it is not believed."
        caveats.append(("wrong-id", text))
    return both


def _shape(name: str, *, prime: bool) -> Format:
    return Format(
        name=name,
        title=f"{name} (legacy rows)",
        writers="prime-rl until July 2026" if prime else "verifiers' evaluations up to 0.3.1",
        files="`rollouts/step_1/train_rollouts.jsonl`" if prime else "`outputs/evals/ENV--MODEL/1a2b3c4d/results.jsonl`",
        hides={
            "errors-not-zeros": "a failed rollout has reward 0 and an `error`, or an empty completion",
            "wrong-id": "`id` of 0.1.3 to 0.1.5 groups different prompts",
            "evaluation-split": "an evaluation's examples",
        },
        told_by=lambda sample: _told(sample) if (is_prime(sample) or "_rollouts" in sample.path.name) == prime else None,
        arrange=_arrange,
        blocks=_blocks,
    )


PRIME_LEGACY = _shape("prime-rl", prime=True)
LEGACY = _shape("verifiers", prime=False)
