"""What each token of a completion is credited with: advantages from a value network, or from the other completions of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.core.records import Prompt
from flatspot_paper.ppo.settings import Outcome, PPOSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One completion, `ids` with its end token; `number` is its place in the buffer of all processes."""

    number: int
    prompt: Prompt
    prompt_ids: list[int]
    ids: list[int]
    truncated: bool
    reward: float | None
    error: str | None


@dataclass(frozen=True)
class Credit:
    """Of a row's tokens, as arrays [token]: log p when sampled, log p − log p_ref, value, advantage."""

    log_prob: Floats
    log_ratio: Floats
    value: Floats
    advantage: Floats


def credit(
    row: Row, log_prob: Floats, log_ratio: Floats, value: Floats, beta: float, settings: PPOSettings, level: float | None = None
) -> Credit:
    """The token rewards, −β(log p − log p_ref) and at the end the task's, as advantages.

    level  of the row within its group: then every token's advantage is level − β(log p − log p_ref)
    """
    if level is not None:
        return Credit(log_prob, log_ratio, value, level - beta * log_ratio)
    rewards = -beta * log_ratio
    rewards[-1] += row.reward
    return Credit(log_prob, log_ratio, value, gae(rewards, value, settings.gamma, settings.gae_lambda))


def group_levels(outcomes: Sequence[Outcome], settings: PPOSettings) -> Mapping[int, float]:
    """Of each scored completion, by its number: its reward minus its group's mean; "group-normalized": over the group's std + 1e-4.

    A group is the `samples_per_prompt` completions drawn of a prompt together; the std has ddof 1. An only scored completion has 0.

    >>> some = [Outcome(i, "a", reward, False, 3, None) for i, reward in enumerate([1.0, 0.0])]
    >>> {n: round(x, 3) for n, x in group_levels(some, PPOSettings(advantages="group-normalized", samples_per_prompt=2)).items()}
    {0: 0.707, 1: -0.707}
    """
    groups: dict[int, dict[int, float]] = {}
    for one in outcomes:
        if one.reward is not None:
            groups.setdefault(one.number // settings.samples_per_prompt, {})[one.number] = one.reward
    levels: dict[int, float] = {}
    for rewards in groups.values():
        values = np.array(list(rewards.values()))
        spread = values.std(ddof=1) + 1e-4 if settings.advantages == "group-normalized" and len(values) > 1 else 1.0
        levels.update(zip(rewards, ((values - values.mean()) / spread).tolist(), strict=True))
    return levels


def gae(rewards: Floats, values: Floats, gamma: float, gae_lambda: float) -> Floats:
    """Advantages Σ_k (γλ)^k δ_{l+k}, δ_l = r_l + γ V_{l+1} − V_l, of an episode that ends with its last token: [token].

    >>> gae(np.array([0.0, 1.0]), np.array([0.5, 0.25]), 1.0, 1.0).tolist()  # 1 − V_l
    [0.5, 0.75]
    """
    advantages = np.zeros(len(rewards))
    ahead = following = 0.0
    for place in reversed(range(len(rewards))):
        ahead = rewards[place] + gamma * following - values[place] + gamma * gae_lambda * ahead
        advantages[place], following = ahead, values[place]
    return advantages


def next_kl_coef(beta: float, kl: float | None, target: float | None) -> float:
    """β(1 + 0.1 · clip((KL − target)/target, −0.2, 0.2)); β itself without a target, or without a KL.

    >>> round(next_kl_coef(0.001, 2.0, 1.0), 6), round(next_kl_coef(0.001, 0.9, 1.0), 6), next_kl_coef(0.001, 2.0, None)
    (0.00102, 0.00099, 0.001)
    """
    return beta if target is None or kl is None else beta * (1 + 0.1 * min(0.2, max(-0.2, (kl - target) / target)))


def normalized(advantages: Floats) -> Floats:
    """(A − mean)/(std + 1e-8) with ddof 1; unchanged for a single token."""
    return (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8) if len(advantages) > 1 else advantages
