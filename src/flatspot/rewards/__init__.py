"""Completion → number or None: users' reward functions under TRL's contract, adapters, and text metrics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flatspot.rewards.builtin import BUILTINS as BUILTINS
    from flatspot.rewards.builtin import reward_range as reward_range
    from flatspot.rewards.check import check_reward as check_reward
    from flatspot.rewards.load import LoadedReward as LoadedReward
    from flatspot.rewards.load import load_reward as load_reward
    from flatspot.rewards.references import reference_rewards as reference_rewards

# on first use: the worker of a reward, which is a module of this package, is started for every run and needs half of them
_HOME = {
    "BUILTINS": "builtin",
    "LoadedReward": "load",
    "check_reward": "check",
    "load_reward": "load",
    "reference_rewards": "references",
    "reward_range": "builtin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
