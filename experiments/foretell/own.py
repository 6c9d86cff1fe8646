"""RL on one prompt at a time, each from the start policy: what a prompt's own gradient does, without the other prompts'."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measures import Floats, Sample
from setting import OWN_STEPS, Setting

from flatspot.core.records import Prompt, PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines.registry import load_engine
from flatspot.rewards import LoadedReward, load_reward
from flatspot.stats.evidence import reward_std

_SEED = 2  # of the completions after RL


def own_runs(prompts: Sequence[Prompt], policy: str, setting: Setting, folder: Path, train: Callable[..., Path]) -> Sample:
    """The rewards of each prompt after RL on it alone; a line of `own.jsonl` per prompt, which a killed run skips."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "own.jsonl"
    done = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    with load_reward(setting.reward) as reward, file.open("a", encoding="utf-8") as lines:
        for prompt in prompts[len(done) :]:
            shutil.rmtree(folder / "one", ignore_errors=True)
            checkpoint = train([prompt], policy, setting, folder / "one", steps=OWN_STEPS)
            rewards = sampled_rewards(checkpoint, prompt, setting, reward)
            done.append({"id": prompt.id, "mean": float(rewards.mean()), "std": float(reward_std(rewards))})
            print(json.dumps(done[-1]), file=lines, flush=True)
    return Sample(np.array([row["mean"] for row in done]), np.array([row["std"] for row in done]), setting.completions)


def sampled_rewards(policy: Path, prompt: Prompt, setting: Setting, reward: LoadedReward) -> Floats:
    """[n] rewards of new completions of one prompt."""
    engine = load_engine("hf", str(policy), dtype="float32", device="cpu")
    request = PromptRequest(prompt.text, tuple(row_seed(_SEED, prompt.id, i) for i in range(setting.completions)))
    with contextlib.closing(engine) if hasattr(engine, "close") else contextlib.nullcontext():
        (completions,) = engine.sample([request], Sampling(max_new_tokens=setting.max_new_tokens))
    scores = reward.score([prompt] * len(completions), completions)
    return np.array([np.nan if score.reward is None else score.reward for score in scores])
