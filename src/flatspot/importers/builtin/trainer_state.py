"""trainer_state.json of transformers' trainers, where it lies beside a log: which rewards there were, their weights, and evaluations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MEAN = re.compile(r"rewards/(.+)/mean")
_LARGEST = 64 << 20  # bytes


@dataclass(frozen=True)
class TrainerState:
    """What a trainer logged.

    rewards    the reward functions, in their order
    steps      of each line of its history with a reward: (reward, mean of each function)
    evaluated  the steps at which it was evaluated
    """

    rewards: tuple[str, ...] = ()
    steps: tuple[tuple[float, tuple[float, ...]], ...] = ()
    evaluated: frozenset[int] = frozenset()

    def weights(self, columns: Sequence[str]) -> tuple[float, ...] | None:
        """The weights of these columns in the reward, by least squares; None where the history does not determine them."""
        import numpy as np

        if not self.steps or sorted(columns) != sorted(self.rewards):
            return None
        means = np.array([row for _, row in self.steps])[:, [self.rewards.index(column) for column in columns]]
        rewards = np.array([reward for reward, _ in self.steps])
        weights, _, rank, _ = np.linalg.lstsq(means, rewards, rcond=1e-6)
        off = np.abs(means @ weights - rewards)
        if rank < len(columns) or off.max() > 1e-4 * max(1.0, float(np.abs(rewards).max())):
            return None
        return tuple(round(float(weight), 4) for weight in weights)


def read_trainer_state(files: Sequence[Path]) -> TrainerState:
    """The latest state in the folders that these files lie in, or in a checkpoint of theirs; an empty one where there is none."""
    folders = dict.fromkeys(parent for file in files for parent in (file.absolute().parent, file.absolute().parent.parent))
    found: dict[Path, None] = {}
    for folder in folders:
        found |= dict.fromkeys([folder / "trainer_state.json", *folder.glob("checkpoint-*/trainer_state.json")])
    states = [state for path in found if (state := _load(path))]
    latest = max(states, key=lambda state: len(state.get("log_history", [])), default=None)
    return _parsed(latest.get("log_history")) if latest else TrainerState()


def _load(path: Path) -> Mapping[str, Any] | None:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        state = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) and isinstance(state.get("log_history"), list) else None


def _parsed(history: Any) -> TrainerState:
    lines = [line for line in history if isinstance(line, dict)]
    names = tuple(dict.fromkeys(match[1] for line in lines for key in line if (match := _MEAN.fullmatch(key))))
    steps = []
    for line in lines:
        logged = [line.get("reward"), *(line.get(f"rewards/{name}/mean") for name in names)]
        values = [float(value) for value in logged if isinstance(value, int | float) and value == value]
        if names and len(values) == len(logged):
            steps.append((values[0], tuple(values[1:])))
    evaluated = {line["step"] for line in lines if isinstance(line.get("step"), int) and any(key.startswith("eval_") for key in line)}
    return TrainerState(names, tuple(steps), frozenset(evaluated))
