"""The three tasks, and what is the same in all arms of a task: prompts, reward, options of SFT and RL, generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flatspot.core.records import Prompt
from flatspot.recipe.overcome import flags
from flatspot.tasks.letters import MAX_NEW_TOKENS, letters_model, letters_prompts

HERE = Path(__file__).parent
PROMPTS, HELD_OUT = 400, 100
FULL_STEPS = 100  # of full SFT: 4 passes over the 400 labels in batches of 16
SFT_BATCH = 16
ORACLE_STEPS = (4, 7, 10, 15, 25, 40, 60, 100)
SAMPLES = 4  # completions per prompt when a policy is evaluated


@dataclass(frozen=True)
class Task:
    """A task: its reward as flatspot loads it, and how RL and SFT are run on it."""

    name: str
    reward: str
    rl_steps: int = 50
    rl_rate: float = 2e-4
    sft_rate: float = 1e-3
    generations: int = 64  # per RL step, in groups of 8


TASKS = {
    task.name: task
    for task in (
        Task("capitals", "exact_match"),
        Task("brackets", f"{HERE / 'rewards.py'}:brackets"),
        Task("backward", "reasoning_gym"),
    )
}
MODEL = str(letters_model())


@cache
def prompts_of(task: str) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
    """The prompts that are trained on and those held out: the first 400 and the last 100 of 500 different ones."""
    both = letters_prompts(task, PROMPTS + HELD_OUT, seed=0)
    return both[:PROMPTS], both[PROMPTS:]


def rl_options(
    task: Task, seed: int, *, rate: float = 1.0, temperature: float = 1.0, entropy: float = 0.0, steps: int | None = None
) -> list[str]:
    """TRL's flags of an RL run; `rate` multiplies the task's learning rate."""
    named = {
        "per_device_train_batch_size": task.generations,
        "num_generations": 8,
        "max_completion_length": MAX_NEW_TOKENS,
        "max_steps": task.rl_steps if steps is None else steps,
        "learning_rate": task.rl_rate * rate,
        "lr_scheduler_type": "constant",
        "temperature": temperature,
        "entropy_coef": entropy,
        "top_k": 0,
        "beta": 0.0,
        "seed": seed,
        **_MACHINE,
    }
    return flags(named)


def sft_options(task: Task, seed: int, steps: int, labels: int) -> list[str]:
    """TRL's flags of a supervised run."""
    named = {
        "per_device_train_batch_size": min(SFT_BATCH, labels),
        "max_steps": steps,
        "learning_rate": task.sft_rate,
        "lr_scheduler_type": "constant",
        "seed": seed,
        **_MACHINE,
    }
    return flags(named)


_MACHINE = {
    "dtype": "float32",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 10,
    "disable_tqdm": True,
}
