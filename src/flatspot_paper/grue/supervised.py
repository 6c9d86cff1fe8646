"""Training a task's policy on labels: SFT on the references of its inputs, or a warm-up on few of them that stops by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import TrainingError
from flatspot.core.plain import Json
from flatspot.core.records import Prompt
from flatspot.recipe.overcome import flags
from flatspot_paper.grue.data import Pool
from flatspot_paper.grue.finetune import WARMUP_LABELS, Finetuning
from flatspot_paper.grue.plan import TaskPlan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flatspot.training.inputs import LabeledRow


@dataclass(frozen=True, slots=True)
class Material:
    """What the arms of a task share.

    prompts  the measured inputs: those that RL draws and whose references SFT learns
    labels   the inputs' numbers in `prompts` that SFT may learn from; None: all
    judged   the run folder of the pretrained policy, which a warm-up is planned from and probed on
    """

    plan: TaskPlan
    pool: Pool
    prompts: Sequence[Prompt]
    labels: Sequence[int] | None = None
    judged: Path | None = None


def train_on_labels(material: Material, how: Finetuning, start: str, folder: Path) -> None:
    """Train by `flatspot.training.warmup.sft`; the policy is in FOLDER/policy."""
    from flatspot.engines.policy import locate
    from flatspot.engines.pretrained import tokenizer_of
    from flatspot.training.warmup.sft import sft

    rows = labeled_rows(material, tokenizer_of(locate(start)[0]), how.answer_tokens)
    with _on_cpu_where_no_gpu(_options(how)) as options, redirect_stdout(sys.stderr):  # the trainer prints its log
        sft(rows, start, out=folder, options=flags(options))


def vanishing_labels(material: Material) -> list[int]:
    """Of which inputs a warm-up learns, by their numbers in `prompts`: those that `flatspot plan` chooses; none where none is vanishing."""
    from flatspot.planning.labels import LabelSettings, select_labels

    if material.judged is None:
        return []
    place = {prompt.id: number for number, prompt in enumerate(material.prompts)}
    return sorted(place[label.prompt.id] for label in select_labels(material.judged, LabelSettings(labels=WARMUP_LABELS)))


def warm_up(material: Material, how: Finetuning, start: str, folder: Path) -> None:
    """The warm-up on these labels by `flatspot.warmup`, with its rule to stop; the policy to start RL from is in FOLDER/policy."""
    from flatspot.engines.policy import locate
    from flatspot.engines.pretrained import tokenizer_of
    from flatspot.training.warmup.run import warmup

    labels = vanishing_labels(material)
    if material.judged is None or not labels:
        raise TrainingError(f"no input of {material.plan.task.title} is vanishing: there is nothing to warm up")
    rows = labeled_rows(replace(material, labels=labels), tokenizer_of(locate(start)[0]), how.answer_tokens)
    answered = [{"prompt": row["prompt"], "answer": row["completion"]} for row in rows]
    with _on_cpu_where_no_gpu(_options(how)) as options, redirect_stdout(sys.stderr):
        warmup(answered, start, run=material.judged, out=folder, probe=how.probe, options=flags(options), seed=how.probe.seed)


def _options(how: Finetuning) -> dict[str, Json]:
    """What the trainer is told."""
    options = dict(how.sft)
    if how.adapter_rank is not None:
        rank = how.adapter_rank
        options |= {"use_peft": True, "lora_r": rank, "lora_alpha": 2 * rank, "lora_target_modules": "all-linear", "lora_dropout": 0.0}
    if how.whole_text:
        options["completion_only_loss"] = False
    return options | {"disable_tqdm": True, "gradient_checkpointing": False}


def labeled_rows(material: Material, tokenizer: PreTrainedTokenizerBase, most: int | None) -> list[LabeledRow]:
    """A row per input and reference, the input's references in turn; answers are cut to `most` tokens of the policy.

    For IMDB, whose inputs have no reference, the rest of the review.
    """
    chosen = range(len(material.prompts)) if material.labels is None else material.labels
    rows: list[LabeledRow] = []
    for place in chosen:
        prompt = material.prompts[place]
        answers: list[str | None] = prompt.columns.get("references") or [material.pool.examples[number_of(prompt)].continuation]
        for answer in answers:
            text = str(answer).strip()
            if most is not None:
                places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
                text = text if len(places) <= most else text[: places[most - 1][1]]
            if text:
                rows.append({"prompt": prompt.text, "completion": text, "columns": {}})
    return rows


def number_of(prompt: Prompt) -> int:
    """The number of an input in its split."""
    return int(prompt.id.rsplit("-", 1)[1])


@contextmanager
def _on_cpu_where_no_gpu(options: dict[str, Json]) -> Iterator[Mapping[str, Json]]:
    import torch

    if not torch.cuda.is_available():
        options["use_cpu"] = True
    before = os.environ.get("ACCELERATE_MIXED_PRECISION")
    try:
        yield options
    finally:  # transformers leaves its precision here for whatever comes next
        if before is None:
            os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        else:
            os.environ["ACCELERATE_MIXED_PRECISION"] = before
