"""Random policies and rewards small enough to enumerate, spread over the whole range that the bounds claim to cover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flatspot.theory.enumerate import Floats, prefix_probabilities, recurrent_policy, recurrent_size

FAMILIES = ("tabular", "recurrent")
REWARDS = ("dense", "one completion in 8 is right", "one likely completion differs", "the least likely are right", "almost constant")


@dataclass(frozen=True)
class RandomModel:
    """One random model.

    jacobian    None for a tabular policy
    old_logits  of a similar policy, which generated the completions: for PPO's surrogate and for the reference of a KL penalty
    """

    family: str
    kind: str
    logits: Floats
    old_logits: Floats
    jacobian: Floats | None
    rewards: Floats


def random_models(n: int, rng: np.random.Generator) -> Iterator[RandomModel]:
    """`n` models: both families and all kinds of reward in turn; 2 to 4 tokens, length 1 to 4, from flat to nearly deterministic."""
    for i in range(n):
        family = FAMILIES[i % len(FAMILIES)]
        n_tokens, length = int(rng.integers(2, 5)), int(rng.integers(1, 5))
        sharpness = float(rng.choice([0.3, 1.0, 3.0, 6.0]))
        if family == "tabular":
            shape = (sum(n_tokens**size for size in range(length)), n_tokens)
            logits, jacobian = rng.normal(size=shape) * sharpness, None
            old = logits + rng.normal(size=shape) * float(rng.choice([0.05, 0.5]))
        else:
            width = int(rng.integers(2, 6))
            theta = rng.normal(size=recurrent_size(n_tokens, width)) * min(sharpness, 3.0)
            near = theta + rng.normal(size=theta.shape) * 0.1
            logits, jacobian = recurrent_policy(theta, n_tokens=n_tokens, length=length, width=width)
            old, _ = recurrent_policy(near, n_tokens=n_tokens, length=length, width=width)
        kind = REWARDS[(i // len(FAMILIES)) % len(REWARDS)]
        yield RandomModel(family, kind, logits, old, jacobian, _rewards(kind, prefix_probabilities(logits)[-1], rng))


def _rewards(kind: str, probability: Floats, rng: np.random.Generator) -> Floats:
    """Rewards in [−1, 1], one per completion."""
    n = len(probability)
    order = np.argsort(probability)
    rewards = np.zeros(n)
    if kind == "dense":
        return rng.uniform(-1, 1, n)
    if kind == "one completion in 8 is right":
        rewards[rng.choice(n, size=max(1, n // 8), replace=False)] = 1.0
    elif kind == "one likely completion differs":
        rewards[:] = -1.0
        rewards[order[-1]] = 1.0
    elif kind == "the least likely are right":
        rewards[order[: max(1, n // 4)]] = 1.0
    else:
        rewards = 0.9 + 10.0 ** rng.uniform(-6, -1.5) * rng.uniform(-1, 1, n)
    return rewards
