"""What PPO is told, and what it tells of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.records import Sampling
from flatspot.stats.evidence import reward_std


@dataclass(frozen=True)
class PPOSettings:
    """How PPO trains.

    steps              buffers to draw and learn from
    buffer_tokens      tokens drawn per step, at least: rounds of `prompts_per_round` prompts, `samples_per_prompt` completions each
    minibatch_tokens   tokens per optimizer step, at most; `epochs` passes over a buffer
    entropy            "analytic": of the whole distribution; "sampled": −log p of the token drawn
    kl_coef            β at the start; `kl_target` is the mean of log p − log p_ref per token that it steers to, None keeps β
    rows_per_forward   completions per forward pass, a matter of memory
    save_every         steps between checkpoints; the last step is always saved
    """

    steps: int = 100
    buffer_tokens: int = 2560
    prompts_per_round: int = 10
    samples_per_prompt: int = 1
    minibatch_tokens: int = 64
    epochs: int = 5
    learning_rate: float = 2e-6
    weight_decay: float = 1e-6
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    vf_coef: float = 0.5
    entropy_coef: float = 0.0
    entropy: Literal["analytic", "sampled"] = "analytic"
    kl_coef: float = 0.001
    kl_target: float | None = 1.0
    max_grad_norm: float = 0.5
    normalize_advantages: bool = True
    sampling: Sampling = field(default_factory=lambda: Sampling(top_k=50, max_new_tokens=50))
    seed: int = 0
    rows_per_forward: int = 64
    save_every: int = 10

    def __post_init__(self) -> None:
        for name, least in (
            *((count, 1) for count in ("steps", "buffer_tokens", "prompts_per_round", "samples_per_prompt", "minibatch_tokens", "epochs")),
            *((count, 1) for count in ("rows_per_forward", "save_every")),
            *((size, 0) for size in ("learning_rate", "weight_decay", "vf_coef", "entropy_coef", "kl_coef", "gamma", "gae_lambda")),
        ):
            if not least <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} must be finite and at least {least}, got {getattr(self, name)}")
        if max(self.gamma, self.gae_lambda) > 1 or not 0 < self.clip_range < 1:
            raise SettingsError("gamma and gae_lambda must be at most 1 and clip_range between 0 and 1, got "
                                f"{self.gamma}, {self.gae_lambda} and {self.clip_range}")  # fmt: skip
        if not self.max_grad_norm > 0 or (self.kl_target is not None and not self.kl_target > 0):
            raise SettingsError(f"max_grad_norm and kl_target must be above 0, got {self.max_grad_norm} and {self.kl_target}")
        if self.entropy not in ("analytic", "sampled"):
            raise SettingsError(f"entropy must be 'analytic' or 'sampled', got {self.entropy!r}")


@dataclass(frozen=True)
class StepMetrics:
    """One step, over all processes.

    completions, unscored  drawn; of these, without a reward and so left out
    reward, reward_std     mean over the scored completions; mean, over the prompts with two of them or more, of their std (ddof 1)
    prompts                per prompt drawn: n (scored), reward, reward_std; None where there are too few
    truncated, tokens      share of the completions cut by the token limit; their mean length
    kl, kl_coef            mean of log p − log p_ref per token as drawn; the β of this step
    clipped                share of tokens whose ratio has left the clip range; it and the losses, entropy and grad_norm (before
                           clipping) are means over the step's minibatches
    """

    step: int
    completions: int
    unscored: int
    reward: float
    reward_std: float | None
    prompts: dict[str, dict[str, float | None]]
    truncated: float
    tokens: float
    kl: float
    kl_coef: float
    policy_loss: float
    value_loss: float
    entropy: float
    clipped: float
    grad_norm: float


def reward_metrics(drawn: Sequence[tuple[int, str, float | None, bool, int, str | None]]) -> dict[str, Any]:
    """The metrics of what was drawn: (number, prompt id, reward, truncated, tokens, error) of each completion, one of them scored or more.

    >>> found = reward_metrics([(0, "a", 1.0, False, 3, None), (1, "a", 0.0, False, 5, None), (2, "b", None, True, 4, "failed")])
    >>> found["reward"], found["unscored"], found["prompts"]["b"]
    (0.5, 1, {'n': 0, 'reward': None, 'reward_std': None})
    """
    prompts: dict[str, dict[str, Any]] = {}
    for prompt_id in dict.fromkeys(one[1] for one in drawn):
        rewards = np.array([reward for _, other, reward, *_ in drawn if other == prompt_id and reward is not None])
        n = len(rewards)
        prompts[prompt_id] = {
            "n": n,
            "reward": float(rewards.mean()) if n else None,
            "reward_std": float(reward_std(rewards)) if n > 1 else None,
        }
    scored = [reward for _, _, reward, *_ in drawn if reward is not None]
    stds = [found["reward_std"] for found in prompts.values() if found["reward_std"] is not None]
    return {
        "completions": len(drawn),
        "unscored": len(drawn) - len(scored),
        "reward": sum(scored) / len(scored),
        "reward_std": sum(stds) / len(stds) if stds else None,
        "prompts": prompts,
        "truncated": sum(one[3] for one in drawn) / len(drawn),
        "tokens": sum(one[4] for one in drawn) / len(drawn),
    }
