"""NeMo-RL's train_data_step*.jsonl and val_data_step*.jsonl: a row per completion, each value in a list of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.shares import noun
from flatspot.importers.arranged import Arranged, Log
from flatspot.importers.as_formatted import EVALUATION
from flatspot.importers.builtin.batches import step_in_path
from flatspot.importers.builtin.format import Format, refusal
from flatspot.importers.builtin.nested import at, is_message, list_of, nested_blocks
from flatspot.importers.sample import Sample
from flatspot.readers.blocks import Block, Notice
from flatspot.rollouts.notes import Caveat

_STEP = r"_data_step([0-9]+)"
_KEYS = ("content", "rewards", "filtered_rewards", "sample_loss_mask")


def _told(sample: Sample) -> str | None:
    content = sample.first.get("content")
    if not (isinstance(content, list) and sample.has("idx") and (sample.has("rewards") or sample.has("token_ids"))):
        return None
    if isinstance(sample.first.get("rewards", []), list):
        return "validation" if is_message(at(content, 0, 0)) else "training"
    return None


def _blocks(path: Path, notices: list[Notice]) -> Iterator[Block]:
    step, is_validation = step_in_path(path.name, _STEP), path.name.startswith("val_")

    def rows(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        said = list_of(at(row.get("content"), 0))
        reward = at(row.get("filtered_rewards"), 0) if "filtered_rewards" in row else at(row.get("rewards"), 0)
        messages = bool(said) and all(map(is_message, said))
        prompt, completion = _messages(said) if messages else _texts(said)
        yield {
            "prompt": prompt,
            "completion": completion,
            "reward": reward,
            "step": step,
            "split": EVALUATION if is_validation or (messages and step is None) else "train",
            "filtered": "filtered_rewards" in row,
            "empty": not said,
        }

    return nested_blocks(path, notices, _KEYS, rows)


def _texts(said: Sequence[Any]) -> tuple[Any, Any]:
    """The prompt and the completion of texts that follow one another: a system prompt first where their number is odd, then in turns."""
    if not said or not all(isinstance(text, str) for text in said):
        return None, None
    first = 1 if len(said) % 2 == 0 else min(2, len(said) - 1)
    if len(said) - first == 1:
        return "".join(said[:first]), said[-1]
    turns = [{"role": "assistant" if i % 2 == 0 else "user", "content": text} for i, text in enumerate(said[first:])]
    return "".join(said[:first]), turns


def _messages(said: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    first = next((i for i, message in enumerate(said) if message["role"] == "assistant"), len(said))
    prompt = said[:first]
    if len(prompt) == 1 and isinstance(prompt[0].get("content"), str):
        return prompt[0]["content"], list(said[first:])
    return list(prompt) or None, list(said[first:])


def _arrange(log: Log, _: Sequence[str]) -> Arranged:
    if not log.has("reward"):
        raise refusal(
            log.files,
            "NeMo-RL",
            "It has no rewards, as those of a distillation.",
            "Draw and score completions of these prompts: flatspot diagnose.",
        )
    caveats: list[Caveat] = []
    empty, filtered, n = log.one(
        f"SELECT count_if({log.text('empty')} = 'true'), count_if({log.text('filtered')} = 'true'), count(*) FROM log"
    )
    if empty and empty < n:
        text = f"Left out: {noun(empty, 'row')} with a reward and nothing else, there to fill the file up past the groups that were kept."
        caveats.append(("padding-rows", text))
    _refuse_single_draws(log)
    text = "Rewards are as the trainer used them, after reward_scaling and reward_shaping: their range may not be the task's."
    caveats.append(("rescaled-rewards", text))
    return Arranged(
        names={name: name for name in ("prompt", "completion", "reward", "step", "split") if log.has(name)},
        derived={"split": log.text("split")},
        dropped=("filtered", "empty"),
        where=f"{log.text('empty')} <> 'true'",
        survivors="certain" if filtered else "",
        caveats=caveats,
    )


def _refuse_single_draws(log: Log) -> None:
    """Refuse validations with one completion of each prompt in a step, where there are no rows of training."""
    rows = f"SELECT count(*) AS n FROM log WHERE {log.text('empty')} <> 'true' GROUP BY _file, {log.text('prompt')}"
    most, training = log.one(f"SELECT max(n), (SELECT count_if({log.text('split')} = 'train') FROM log) FROM ({rows})")
    if most == 1 and not training:
        raise refusal(
            log.files,
            "NeMo-RL's validation",
            "Each prompt has one completion in a step, and other steps have other policies.",
            "Inspect the training's rollouts (train_data_step*.jsonl), or draw new completions: flatspot diagnose.",
        )


NEMO_RL = Format(
    name="nemo-rl",
    title="NeMo-RL",
    writers="NeMo-RL's GRPO and PPO",
    files="`exp_001/train_data_step1.jsonl`, `val_data_step1.jsonl`",
    hides={
        "several-policies": "each step has another policy",
        "evaluation-rows": "validations stand beside the training",
        "survivors-only": "with dynamic sampling only kept groups are written, as `filtered_rewards` shows",
        "rescaled-rewards": "rewards are after `reward_scaling` and `reward_shaping`",
        "padding-rows": "rows past the kept groups",
    },
    told_by=_told,
    arrange=_arrange,
    blocks=_blocks,
)
