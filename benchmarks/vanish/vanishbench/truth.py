"""What is true of a policy, by enumeration of its completions: no rule sees this."""

from __future__ import annotations

import numpy as np

from vanishbench.policy import Floats, Inputs, Ints, Parameters, log_probabilities

FLAT = 0.34  # a prompt is flat where a group of `GROUP_SIZE` is mixed less often: flatspot's own limit, p < 0.05 of rewards 0 and 1
GROUP_SIZE = 8


def expected_rewards(probability: Floats, rewards: Floats) -> Floats:
    """[m] E r."""
    return np.asarray((probability * rewards).sum(1))


def reward_stds(probability: Floats, rewards: Floats) -> Floats:
    """[m] standard deviation of r."""
    centered = rewards - expected_rewards(probability, rewards)[:, None]
    return np.asarray(np.sqrt((probability * centered**2).sum(1)))


def mixed_chance(probability: Floats, rewards: Floats, group_size: int = GROUP_SIZE) -> Floats:
    """[m] probability that two of `group_size` completions earn different rewards: 1 − Σ_r P(r)^group_size.

    >>> mixed_chance(np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]), 2).tolist()
    [0.5]
    """
    same = np.zeros(len(rewards))
    for value in np.unique(rewards):
        same += (probability * (rewards == value)).sum(1) ** group_size
    return np.clip(1.0 - same, 0.0, 1.0)


def is_flat(probability: Floats, rewards: Floats) -> np.ndarray:
    """[m] whether a group is so rarely mixed that RL gets next to nothing from the prompt."""
    return mixed_chance(probability, rewards) < FLAT


def probabilities(parameters: Parameters, inputs: Inputs, prompts: Ints) -> Floats:
    """[m, completion]."""
    return np.exp(log_probabilities(parameters, inputs, prompts))
