"""One arm of one task: finetune its policy, then draw and score completions as before finetuning.

FOLDER/train/         checkpoints of RL; removed when the arm is finished
FOLDER/adapter/       the finetuned policy, where an adapter was trained
FOLDER/policy/        the finetuned policy, whole; after SFT and warm-ups for the RL that follows, and where all weights were trained
FOLDER/trained.json   settings and curve; there when the policy is trained
FOLDER/after/         a run folder of flatspot: completions, rewards, verdicts
FOLDER/inputs.parquet a row per input, as before finetuning
FOLDER/arm.json       settings and numbers; there when the arm is finished
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from flatspot.core.optional import require
from flatspot.core.plain import JsonObject
from flatspot.rollouts.files import write_json
from flatspot.rollouts.store import as_json
from flatspot_paper.grue.finetune import Finetuning
from flatspot_paper.grue.finished import finished
from flatspot_paper.grue.numbers import TaskNumbers
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.grue.stats import measure
from flatspot_paper.grue.supervised import Material, train_on_labels, warm_up

if TYPE_CHECKING:
    from flatspot.rollouts.progress import OnProgress
    from flatspot_paper.ppo.settings import StepMetrics

Say = Callable[[str], None]
_NEWER = ("after",)  # settings that arms of older versions do not name


class ArmResult(TypedDict):
    """arm.json.

    settings       the plan's and the finetuning's
    curve          RL: mean reward of each step's completions; SFT and warm-up: empty
    train_seconds, train_cpu_seconds, seconds  of finetuning, its processor time, and of all, in the process that finished it
    """

    arm: str
    seed: int
    settings: dict[str, Any]
    curve: list[float]
    train_seconds: float
    train_cpu_seconds: float
    seconds: float
    numbers: TaskNumbers


class Training(TypedDict):
    """trained.json: as in arm.json."""

    settings: dict[str, Any]
    curve: list[float]


def arm_settings(arm: str, plan: TaskPlan, how: Finetuning, labels: Sequence[int] | None, seed: int) -> JsonObject:
    """All that the result of an arm depends on; of one after SFT, the SFT's settings, too.

    labels  that SFT learns from; None: all
    seed    of the completions after finetuning
    """
    of_sft = {"labels": None if labels is None else list(labels)}
    own = {**plan.to_json(), "seed": seed, "labels": None} | how.to_json(arm)
    if arm == "sft":
        own |= of_sft
    before, _, after = arm.partition("+")
    if after:
        own["after"] = how.to_json(before) | (of_sft if before == "sft" else {})
    return as_json(own)


def read_arm(folder: Path, own: JsonObject) -> ArmResult | None:
    """The result of an arm that is finished; None where it is not. Raises RunFolderError for a damaged one, or one of other settings."""
    stored = finished(folder / "arm.json", ArmResult.__annotations__, "settings", own, "this arm", newer=_NEWER)
    return cast("ArmResult | None", stored)


def run_arm(
    arm: str,
    material: Material,
    how: Finetuning,
    start: str,
    folder: Path,
    *,
    seed: int = 0,
    say: Say = lambda _: None,
    on_progress: OnProgress | None = None,
) -> ArmResult:
    """The result of an arm: that of its folder where it is finished, else made now, from RL's last checkpoint where there is one.

    start  the policy that is finetuned, by name or folder
    seed   of the completions after finetuning; the finetuning's own is in `how`

    Raises RunFolderError for a folder of other settings.
    """
    own = arm_settings(arm, material.plan, how, material.labels, seed)
    if (stored := read_arm(folder, own)) is not None:
        return stored
    began, cpu = time.monotonic(), time.process_time()
    file = folder / "trained.json"
    training = cast("Training | None", finished(file, Training.__annotations__, "settings", own, "this arm trained"))
    if training is None:
        curve = _trained(arm, material, how, start, folder, say)
        training = {"settings": own, "curve": curve}
        write_json(training, file)
    trained, trained_cpu = time.monotonic(), time.process_time()
    with _policy_of(folder) as policy:
        numbers = measure(replace(material.plan, model=policy), material.prompts, folder / "after", folder, seed, on_progress)
    result: ArmResult = {
        "arm": arm,
        "seed": seed,
        "settings": own,
        "curve": training["curve"],
        "train_seconds": round(trained - began, 1),
        "train_cpu_seconds": round(trained_cpu - cpu, 1),
        "seconds": round(time.monotonic() - began, 1),
        "numbers": numbers,
    }
    write_json(result, folder / "arm.json")
    shutil.rmtree(folder / "train", ignore_errors=True)
    return result


def _trained(arm: str, material: Material, how: Finetuning, start: str, folder: Path, say: Say) -> list[float]:
    """Train the policy; the mean reward of each step of RL."""
    if arm == "sft":
        train_on_labels(material, how, start, folder)
    elif arm == "warmup":
        warm_up(material, how, start, folder)
    else:
        return _rl(arm, material, how, start, folder, say)
    return []


def _rl(arm: str, material: Material, how: Finetuning, start: str, folder: Path, say: Say) -> list[float]:
    """Train by `train_ppo`; the mean reward of each step."""
    import torch

    from flatspot.engines.policy import load_policy
    from flatspot_paper.ppo.train import train_ppo

    settings = how.rl_of(arm)
    policy = load_policy(start, dtype="float32")
    torch.manual_seed(settings.seed)
    model: Any = policy.model
    if how.adapter_rank is not None:
        peft = require("peft", extra="train", purpose="Training an adapter")
        kind = "SEQ_2_SEQ_LM" if policy.encoder_decoder else "CAUSAL_LM"
        rank = how.adapter_rank
        model = peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=kind))

    def on_step(metrics: StepMetrics) -> None:
        say(f"{material.plan.task.title}, {arm}: step {metrics.step + 1} of {settings.steps}, reward {metrics.reward:.3f}")

    history = train_ppo(
        model, policy.tokenizer, list(material.prompts), material.plan.reward, settings, on_step=on_step, checkpoints=folder / "train"
    )
    target = folder / ("policy" if how.adapter_rank is None else "adapter")
    model.save_pretrained(target)
    policy.tokenizer.save_pretrained(target)
    return [round(metrics.reward, 6) for metrics in history]


@contextmanager
def _policy_of(folder: Path) -> Iterator[str]:
    """The finetuned policy as one folder; an adapter is merged into its base for as long as it is needed."""
    from flatspot.training.warmup.checkpoints import merge_adapter, write_folder

    if (folder / "policy").exists():
        yield str(folder / "policy")
        return
    merged = folder / "merged"
    write_folder(merged, lambda to: merge_adapter(folder / "adapter", to))
    try:
        yield str(merged)
    finally:
        shutil.rmtree(merged, ignore_errors=True)
