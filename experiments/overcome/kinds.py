"""What each kind of arm does before its RL run, and the row it makes."""

from __future__ import annotations

import fcntl
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from arms import FIVE_PERCENT, Arm
from setting import FULL_STEPS, MODEL, ORACLE_STEPS, Task, prompts_of, sft_options
from steps import evaluate, labeled, loaded_reward, random_labels, reinforce, rewards, silent, supervise

from flatspot.core.records import Prompt

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
Row = dict[str, Any]


def rl(task: Task, arm: Arm, seed: int, work: Path, folder: Path) -> Row:
    """RL from the letters model."""
    checkpoint, cost = reinforce(MODEL, task, seed, folder / "rl", **arm.heuristic)
    return evaluate(checkpoint, task) | cost


def sft_then_rl(task: Task, arm: Arm, seed: int, work: Path, folder: Path) -> Row:
    """SFT of a fixed length on random labels, then RL."""
    return _after_sft(labeled(random_labels(task, arm.labels, seed)), task, arm, seed, folder)


def strategy(task: Task, arm: Arm, seed: int, work: Path, folder: Path) -> Row:
    """SFT of a fixed length on labels that a strategy chose, then RL."""
    from flatspot.planning.labels import LabelSettings, select_labels

    name = "facility-location" if arm.strategy == "ours" else arm.strategy
    labels = select_labels(judged(task, work), LabelSettings(labels=arm.labels, strategy=name, seed=seed))
    return _after_sft(labeled([label.prompt for label in labels]), task, arm, seed, folder)


def _after_sft(rows: Sequence[Mapping[str, Any]], task: Task, arm: Arm, seed: int, folder: Path) -> Row:
    since = time.monotonic()
    warm = supervise(rows, task, seed, arm.steps, folder / "sft")
    spent = {"sft_seconds": round(time.monotonic() - since, 1)} | start(warm, task)
    checkpoint, cost = reinforce(warm, task, seed, folder / "rl")
    return evaluate(checkpoint, task) | spent | cost


def oracle(task: Task, arm: Arm, seed: int, work: Path, folder: Path) -> Row:
    """RL from one checkpoint of an SFT run with 5% of the labels, with what the usual criteria say of the checkpoint."""
    warm = checkpoints(task, seed, work) / f"step-{arm.steps}"
    held_out = random_labels(task, 2 * FIVE_PERCENT, seed)[FIVE_PERCENT:]
    numbers = start(warm, task) | {"validation_loss": loss(warm, held_out), "sft_accuracy": greedy(warm, task, held_out)}
    checkpoint, cost = reinforce(warm, task, seed, folder / "rl")
    return evaluate(checkpoint, task) | numbers | cost


def warmup(task: Task, arm: Arm, seed: int, work: Path, folder: Path) -> Row:
    """SFT on 5% of the labels, the same as the oracle's, stopped by flatspot; then RL."""
    from flatspot.training.warmup.run import warmup as stopped_warmup

    labels = [{"id": p.id, "prompt": p.text, "answer": p.references[0]} for p in random_labels(task, arm.labels, seed)]
    shutil.rmtree(folder, ignore_errors=True)
    since = time.monotonic()
    with silent():
        warmed = stopped_warmup(
            labels,
            MODEL,
            task.reward,
            run=judged(task, work),
            out=folder / "warm",
            options=sft_options(task, seed, FULL_STEPS, arm.labels),
            seed=seed,
        )
    curve = [{"step": row["step"], "ready": row["ready"]["mean"], "reward": row.get("reward")} for row in warmed.curve]
    spent = {
        "sft_seconds": round(time.monotonic() - since, 1),
        "chosen_step": warmed.chosen_step,
        "why": warmed.why,
        "cause": warmed.cause,
        "probe_generations": sum(row.get("generations") or 0 for row in warmed.curve),
        "curve": curve,
    }
    spent |= start(warmed.checkpoint, task)
    checkpoint, cost = reinforce(warmed.checkpoint, task, seed, folder / "rl")
    return evaluate(checkpoint, task) | spent | cost


KINDS: Mapping[str, Callable[[Task, Arm, int, Path, Path], Row]] = {
    "rl": rl,
    "sft": sft_then_rl,
    "oracle": oracle,
    "warmup": warmup,
    "strategy": strategy,
}


def start(warm: Path | str, task: Task) -> Row:
    """Reward and reward std of a policy before RL, on the prompts trained on."""
    values = rewards(warm, task, prompts_of(task.name)[0], seed=1)
    std = np.nanstd(values, axis=1, ddof=1)
    return {"start_reward": float(np.nanmean(values)), "start_std": float(std.mean()), "start_flat": float((std < 0.05).mean())}


def judged(task: Task, work: Path) -> Path:
    """The run folder in which flatspot judged the task's prompts; made once."""
    from flatspot.flow.diagnose import diagnose

    folder = work / task.name / "judged"
    with _once(work / task.name / "judged.lock"), silent():
        if not (folder / "report.json").exists():
            diagnose(list(prompts_of(task.name)[0]), MODEL, task.reward, out=folder, engine="hf", max_new_tokens=13, max_completions=32)
    return folder


def checkpoints(task: Task, seed: int, work: Path) -> Path:
    """The folder of the oracle's checkpoints of one seed; made once."""
    folder = work / task.name / f"oracle-{seed}"
    with _once(work / task.name / f"oracle-{seed}.lock"):
        if not (folder / f"step-{ORACLE_STEPS[-1]}" / "config.json").exists():
            rows = labeled(random_labels(task, FIVE_PERCENT, seed))
            supervise(rows, task, seed, ORACLE_STEPS[-1], folder / "sft", callbacks=[_Keep(folder)])
    return folder


class _Keep(transformers.TrainerCallback):
    """Saves the model at the oracle's steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, args: Any, state: Any, control: Any, **trainer: Any) -> None:
        if state.global_step in ORACLE_STEPS:
            target = self.folder / f"step-{state.global_step}"
            trainer["model"].save_pretrained(target)
            trainer["processing_class"].save_pretrained(target)


class _once:
    """A file lock that waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *ignored: object) -> None:
        self.file.close()


def loss(warm: Path, held_out: Sequence[Prompt]) -> float:
    """Mean negative log-probability of a token of the right answers."""
    model, tokens = _load(warm)
    total, count = 0.0, 0
    for prompt in held_out:
        start_ids, answer = tokens.encode(prompt.text), [*tokens.encode(prompt.references[0]), tokens.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([start_ids + answer])).logits[0, len(start_ids) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum"))
        count += len(answer)
    return total / max(count, 1) if count else math.nan


def greedy(warm: Path, task: Task, held_out: Sequence[Prompt]) -> float:
    """Mean reward of the greedy answers."""
    from flatspot.core.records import Completion

    model, tokens = _load(warm)
    inputs = tokens([str(prompt.text) for prompt in held_out], return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=13)
    texts = tokens.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    scores = loaded_reward(task).score(list(held_out), [Completion(text, 0, False) for text in texts])
    return float(np.mean([score.reward for score in scores]))


def _load(warm: Path) -> tuple[Any, Any]:
    model = transformers.AutoModelForCausalLM.from_pretrained(warm, dtype=torch.float32).eval()
    return model, transformers.AutoTokenizer.from_pretrained(warm)
