"""The parts of an arm: evaluate, SFT, RL. Each works in a folder and leaves nothing else behind."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from setting import MODEL, SAMPLES, Task, prompts_of, rl_options, sft_options

from flatspot.core.records import Prompt, PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines.registry import load_engine
from flatspot.rewards import LoadedReward, load_reward
from flatspot.tasks.letters import MAX_NEW_TOKENS
from flatspot.training.rl.train import train
from flatspot.training.warmup.sft import sft

_rewards: dict[str, LoadedReward] = {}


def loaded_reward(task: Task) -> LoadedReward:
    """The task's reward, loaded once in a process."""
    if task.name not in _rewards:
        _rewards[task.name] = contextlib.ExitStack().enter_context(load_reward(task.reward))
    return _rewards[task.name]


def rewards(model: str | Path, task: Task, prompts: Sequence[Prompt], *, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Rewards [prompt, sample] of completions drawn at temperature 1."""
    engine = load_engine("hf", str(model), dtype="float32", device="cpu")
    requests = [PromptRequest(prompt.text, tuple(row_seed(seed, prompt.id, i) for i in range(samples))) for prompt in prompts]
    completions = engine.sample(requests, Sampling(max_new_tokens=MAX_NEW_TOKENS))
    rows = [(prompt, completion) for prompt, several in zip(prompts, completions, strict=True) for completion in several]
    scores = loaded_reward(task).score([prompt for prompt, _ in rows], [completion for _, completion in rows])
    return np.array([np.nan if score.reward is None else score.reward for score in scores]).reshape(len(prompts), samples)


def evaluate(model: str | Path, task: Task) -> dict[str, float]:
    """Mean reward on the prompts that are trained on and on those held out."""
    trained, held_out = (rewards(model, task, part) for part in prompts_of(task.name))
    return {"reward": float(np.nanmean(trained)), "reward_held_out": float(np.nanmean(held_out))}


def reinforce(model: str | Path, task: Task, seed: int, folder: Path, **heuristic: Any) -> tuple[Path, dict[str, Any]]:
    """GRPO from a model; the checkpoint, and how long it took."""
    since = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    options = rl_options(task, seed, **heuristic)
    with silent():
        trained = train(list(prompts_of(task.name)[0]), str(model), task.reward, out=folder, options=options)
    return trained.checkpoint, {
        "generations": heuristic.get("steps", task.rl_steps) * task.generations,
        "rl_seconds": round(time.monotonic() - since, 1),
        "alarms": sorted({alarm["cause"] for alarm in trained.alarms if "cause" in alarm}),
    }


def labeled(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """SFT rows: every prompt of these tasks has its right answer at hand."""
    return [{"prompt": prompt.text, "completion": prompt.references[0]} for prompt in prompts]


def supervise(rows: Sequence[Mapping[str, Any]], task: Task, seed: int, steps: int, folder: Path, callbacks: Sequence[Any] = ()) -> Path:
    """SFT of the letters model on labeled rows."""
    shutil.rmtree(folder, ignore_errors=True)
    with silent():
        return sft(rows, MODEL, out=folder, options=sft_options(task, seed, steps, len(rows)), callbacks=callbacks)


def random_labels(task: Task, n: int, seed: int) -> list[Prompt]:
    """n of the prompts, any; fewer are the first of more."""
    prompts = prompts_of(task.name)[0]
    order = np.random.default_rng([seed, 17]).permutation(len(prompts))
    return [prompts[i] for i in order[:n]]


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the trainers' lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
