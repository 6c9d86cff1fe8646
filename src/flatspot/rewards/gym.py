"""reasoning-gym's own scorers as a reward."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from flatspot.core.optional import require
from flatspot.core.records import Prompt
from flatspot.rewards.metrics import RowReward
from flatspot.rewards.values import NoAnswer

# their scorers compare grids of tuples, which JSON turned into lists
_WANT_TUPLES = frozenset({"arc_agi", "rearc"})


def reasoning_gym() -> RowReward:
    """What reasoning-gym's scorer of the prompt's task says of the completion, mostly in [0, 1].

    The prompt carries the columns `task` and `entry` (and `task_config`, where settings were given), as prompts loaded from
    `reasoning-gym:…` do. The whole completion, stripped of outer white space, is the answer: nothing is extracted from it, so
    a model has to be asked for the answer alone. Many scorers give partial credit, such as 0.05 for a wrong but well-formed
    answer, and some tasks' scorers raise on text they cannot parse; such a row stays unscored.
    """
    require("reasoning_gym", extra="tasks", purpose="the reward reasoning_gym")

    def score(prompt: Prompt, text: str) -> float:
        task, entry = prompt.columns.get("task"), prompt.columns.get("entry")
        if not isinstance(task, str) or not isinstance(entry, dict):
            raise NoAnswer("this prompt has no columns task and entry: load prompts as reasoning-gym:TASK to score with reasoning_gym")
        config = json.dumps(prompt.columns.get("task_config") or {}, sort_keys=True)
        if task in _WANT_TUPLES:
            entry = {key: _tupled(item) for key, item in entry.items()}
        return float(_scorer_of(task, config)(text.strip(), entry))

    return score


@lru_cache(maxsize=256)
def _scorer_of(task: str, config: str) -> Callable[[str, dict[str, object]], float]:
    factory = require("reasoning_gym.factory", extra="tasks", purpose="the reward reasoning_gym")
    if config == "{}":
        return factory.get_score_answer_fn(task)  # type: ignore[no-any-return]
    # four tasks' scorers read the settings their prompts were made with
    return factory.create_dataset(task, **json.loads(config)).score_answer  # type: ignore[no-any-return]


def _tupled(value: object) -> object:
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
