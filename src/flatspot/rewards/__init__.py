"""Completion → number or None: users' reward functions under TRL's contract, adapters, and text metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

if TYPE_CHECKING:
    from flatspot.rewards.answers import answer_rewards, has_answers, no_answer_rewards
    from flatspot.rewards.builtin import BUILTINS
    from flatspot.rewards.check import check_reward
    from flatspot.rewards.load import LoadedReward, load_reward

__all__ = ["BUILTINS", "LoadedReward", "answer_rewards", "check_reward", "has_answers", "load_reward", "no_answer_rewards"]

# on first use: the worker of a reward, which is a module of this package, is started for every run and needs half of them
_HOME = {
    "BUILTINS": "builtin",
    "LoadedReward": "load",
    "check_reward": "check",
    "load_reward": "load",
    "answer_rewards": "answers",
    "has_answers": "answers",
    "no_answer_rewards": "answers",
}

__getattr__, __dir__ = on_first_use(__name__, _HOME)
