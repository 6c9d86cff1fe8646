"""The settings of PPO, and the metrics of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.records import Sampling
from flatspot.stats.evidence import reward_std


@dataclass(frozen=True)
class PPOSettings:
    """How PPO trains.

    steps              number of steps, each with a new buffer of completions
    buffer_tokens      minimum number of tokens per step: rounds of `prompts_per_round` prompts, `samples_per_prompt` completions each
    minibatch_tokens   maximum number of tokens per optimizer step; `epochs` passes over a buffer
    entropy            "analytic": of the whole distribution; "sampled": −log p of the sampled token
    kl_coef            initial β; it is adapted so that the mean of log p − log p_ref per token approaches `kl_target`; None: constant β.
                       With 0 and None there is no reference
    advantages         "gae": the paper's, from a value network; "group": the reward minus the mean of the prompt's completions in it,
                       the same for every token; "group-normalized": that over their std, as GRPO has it. The last two have no value network
    value              "network": a full copy of the policy with a linear head, the paper's; "head": a linear head on the policy's own last
                       states, through which nothing is learned by the policy
    mixed_precision    "no", "bf16", or None: what accelerate is set to. Sampling stays in the weights' own precision
    rows_per_forward   completions per forward pass; limits the memory
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
    advantages: Literal["gae", "group", "group-normalized"] = "gae"
    value: Literal["network", "head"] = "network"
    mixed_precision: Literal["no", "bf16"] | None = None
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
        for name, allowed in (
            ("advantages", ("gae", "group", "group-normalized")),
            ("value", ("network", "head")),
            ("mixed_precision", ("no", "bf16", None)),
        ):
            if getattr(self, name) not in allowed:
                raise SettingsError(f"{name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}")
        if self.advantages != "gae" and self.samples_per_prompt < 2:
            raise SettingsError(f"advantages={self.advantages!r} compares the completions of a prompt: set samples_per_prompt to 2 or more")
        if self.entropy not in ("analytic", "sampled"):
            raise SettingsError(f"entropy must be 'analytic' or 'sampled', got {self.entropy!r}")

    @property
    def learns_value(self) -> bool:
        """Whether there is a value to learn."""
        return self.advantages == "gae"


class PromptReward(TypedDict):
    """Rewards of one prompt in a step: n scored completions, None if there are too few for a mean or a std."""

    n: int
    reward: float | None
    reward_std: float | None


@dataclass(frozen=True)
class StepMetrics:
    """One step, over all processes.

    completions, unscored  number sampled; of these, without a reward and therefore left out
    reward, reward_std     mean over the scored completions; mean std (ddof 1) over the prompts with at least two of them
    prompts                per sampled prompt: n (scored), reward, reward_std; None if there are too few
    truncated, tokens      share of truncated completions; mean length of completions
    kl, kl_coef            mean of log p − log p_ref per sampled token, None where nothing needs it; the β of this step
    clipped                share of tokens whose ratio is outside the clip range; it and the losses, entropy and grad_norm (before
                           clipping) are means over the step's minibatches
    """

    step: int
    completions: int
    unscored: int
    reward: float
    reward_std: float | None
    prompts: dict[str, PromptReward]
    truncated: float
    tokens: float
    kl: float | None
    kl_coef: float
    policy_loss: float
    value_loss: float
    entropy: float
    clipped: float
    grad_norm: float


class Outcome(NamedTuple):
    """A completion of a step, without its tokens; `number` is its place in the buffer of all processes."""

    number: int
    prompt_id: str
    reward: float | None
    truncated: bool
    n_tokens: int
    error: str | None


class RewardMetrics(TypedDict):
    """The fields of `StepMetrics` that depend on the completions alone."""

    completions: int
    unscored: int
    reward: float
    reward_std: float | None
    prompts: dict[str, PromptReward]
    truncated: float
    tokens: float


class Losses(TypedDict):
    """The fields of `StepMetrics` that come from the optimizer steps."""

    policy_loss: float
    value_loss: float
    entropy: float
    clipped: float
    grad_norm: float


def reward_metrics(completions: Sequence[Outcome]) -> RewardMetrics:
    """The metrics of completions, at least one of them scored.

    >>> a, b = Outcome(0, "a", 1.0, False, 3, None), Outcome(1, "a", 0.0, False, 5, None)
    >>> metrics = reward_metrics([a, b, Outcome(2, "b", None, True, 4, "failed")])
    >>> metrics["reward"], metrics["unscored"], metrics["prompts"]["b"]
    (0.5, 1, {'n': 0, 'reward': None, 'reward_std': None})
    """
    prompts: dict[str, PromptReward] = {}
    for prompt_id in dict.fromkeys(one.prompt_id for one in completions):
        rewards = np.array([one.reward for one in completions if one.prompt_id == prompt_id and one.reward is not None])
        n = len(rewards)
        prompts[prompt_id] = {
            "n": n,
            "reward": float(rewards.mean()) if n else None,
            "reward_std": float(reward_std(rewards)) if n > 1 else None,
        }
    scored = [one.reward for one in completions if one.reward is not None]
    stds = [own["reward_std"] for own in prompts.values() if own["reward_std"] is not None]
    return {
        "completions": len(completions),
        "unscored": len(completions) - len(scored),
        "reward": sum(scored) / len(scored),
        "reward_std": sum(stds) / len(stds) if stds else None,
        "prompts": prompts,
        "truncated": sum(one.truncated for one in completions) / len(completions),
        "tokens": sum(one.n_tokens for one in completions) / len(completions),
    }
