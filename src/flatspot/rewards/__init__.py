"""Completion → number or None: users' reward functions under TRL's contract, adapters, and text metrics."""

from __future__ import annotations

from flatspot.rewards.builtin import BUILTINS, reward_range
from flatspot.rewards.check import check_reward
from flatspot.rewards.load import LoadedReward, load_reward
from flatspot.rewards.references import reference_rewards

__all__ = ["BUILTINS", "LoadedReward", "check_reward", "load_reward", "reference_rewards", "reward_range"]
