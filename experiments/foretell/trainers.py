"""RL from a policy: TRL's GRPO with two kinds of advantages, and the PPO of this repository. Each resumes in its folder."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from setting import GROUP_SIZE, GROUPS, Setting

from flatspot.core.records import Prompt, Sampling
from flatspot.core.settings import Advantage
from flatspot.recipe.overcome import flags
from flatspot.training.rl.train import train

SEED = 0
_PPO_RATE = 0.3  # of GRPO's rate, for tiny policies: at GRPO's own, four epochs an update unlearned two settings
_SAVE_EVERY = 2  # steps between checkpoints of a large policy; a tiny one starts again


def grpo(
    prompts: Sequence[Prompt],
    policy: str,
    setting: Setting,
    folder: Path,
    *,
    scale: Literal["none", "group"],
    steps: int | None = None,
    groups: int = GROUPS,
) -> Path:
    """GRPO with so many groups a step; the folder of the trained policy. `scale` is TRL's scale_rewards."""
    trainer, large = folder / "trainer", setting.policy == "smollm2" and groups > 1
    saved = sorted(trainer.glob("checkpoint-*/trainer_state.json"))
    if not saved:
        shutil.rmtree(folder, ignore_errors=True)
    parts = 4 if large else 1  # of a batch, one after the other: memory
    options = {
        "per_device_train_batch_size": groups * GROUP_SIZE // parts,
        "gradient_accumulation_steps": parts,
        "num_generations": GROUP_SIZE,
        "max_completion_length": setting.max_new_tokens,
        "max_steps": steps or setting.steps,
        "learning_rate": setting.rate,
        "lr_scheduler_type": "constant",
        "scale_rewards": scale,
        "temperature": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "seed": SEED,
        "save_strategy": "steps" if large else "no",
        "save_steps": _SAVE_EVERY,
        "save_total_limit": 1,
        "dtype": "float32",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "logging_steps": 10,
        "disable_tqdm": True,
    }
    more = ["--resume_from_checkpoint", str(saved[-1].parent)] if saved else []
    with contextlib.redirect_stdout(io.StringIO()):
        return train(list(prompts), policy, setting.reward, out=folder, options=[*flags(options), *more]).checkpoint


def ppo_rate(setting: Setting) -> float:
    """The learning rate of PPO."""
    return setting.rate if setting.policy == "smollm2" else setting.rate * _PPO_RATE


def ppo(prompts: Sequence[Prompt], policy: str, setting: Setting, folder: Path, *, steps: int | None = None) -> Path:
    """PPO with as many completions a step; the folder of the trained policy."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from flatspot.engines.policy import locate
    from flatspot_paper import PPOSettings, train_ppo

    source, out = locate(policy)[0], folder / "policy"
    torch.manual_seed(SEED)
    model, tokens = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32), AutoTokenizer.from_pretrained(source)
    large = setting.policy == "smollm2"
    settings = PPOSettings(
        steps=steps or setting.steps,
        buffer_tokens=1,  # one round a step
        prompts_per_round=GROUPS,
        samples_per_prompt=GROUP_SIZE,
        minibatch_tokens=GROUPS * GROUP_SIZE * setting.max_new_tokens,  # one update an epoch
        epochs=2 if large else 4,
        learning_rate=ppo_rate(setting),
        sampling=Sampling(top_k=0, max_new_tokens=setting.max_new_tokens),
        seed=SEED,
        rows_per_forward=16 if large else 64,
        save_every=_SAVE_EVERY if large else setting.steps,
    )
    train_ppo(model, tokens, list(prompts), setting.reward, settings, checkpoints=folder)
    model.save_pretrained(out)
    tokens.save_pretrained(out)
    return out


@dataclass(frozen=True)
class Trainer:
    """What trains, the kind of its advantages, and on which prompts: all, those called vanishing, or each from the start on its own."""

    train: Callable[..., Path]
    advantage: Advantage
    on: Literal["all", "vanishing", "one"] = "all"


_NORMALIZED, _CENTERED = partial(grpo, scale="group"), partial(grpo, scale="none")
TRAINERS = {
    "grpo-normalized": Trainer(_NORMALIZED, "normalized"),
    "grpo-centered": Trainer(_CENTERED, "centered"),
    "ppo": Trainer(ppo, "centered"),
    "grpo-normalized-alone": Trainer(_NORMALIZED, "normalized", "vanishing"),
    "grpo-centered-alone": Trainer(_CENTERED, "centered", "vanishing"),
    "grpo-normalized-own": Trainer(partial(_NORMALIZED, groups=1), "normalized", "one"),
    "grpo-centered-own": Trainer(partial(_CENTERED, groups=1), "centered", "one"),
}
