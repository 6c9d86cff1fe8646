"""What a reward asks of the prompts' columns, and gives their reference answers: the best a prompt can be expected to earn."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.core.errors import RewardLoadError
from flatspot.core.protocols import Reward
from flatspot.core.records import Completion, Prompt


def reference_rewards(reward: Reward, prompts: Sequence[Prompt]) -> list[float | None]:
    """The best reward among each prompt's reference answers, scored as if the policy had given them.

    None where a prompt has no reference, or none of its references could be scored.

    >>> from flatspot.rewards import load_reward
    >>> reference_rewards(load_reward("exact_match"), [Prompt("a", "2+2=", {"reference": "4"}), Prompt("b", "?")])
    [1.0, None]
    """
    rows = [(i, reference) for i, prompt in enumerate(prompts) for reference in prompt.references]
    # a reference is text, so its length in tokens is unknown here; no reward may depend on it
    scores = reward.score([prompts[i] for i, _ in rows], [Completion(reference, 0, False) for _, reference in rows])
    best: list[float | None] = [None] * len(prompts)
    for (i, _), score in zip(rows, scores, strict=True):
        if score.reward is not None and (best[i] is None or score.reward > best[i]):  # type: ignore[operator]
            best[i] = score.reward
    return best


def check_columns(reward: Reward, prompts: Sequence[Prompt]) -> None:
    """Score one empty completion, so that a reward that asks for a column the prompts lack speaks before anything is drawn.

    Raises `RewardLoadError` naming the column: one that a function asks for, or `reference` where no prompt has one.
    """
    error = reward.score(prompts[:1], [Completion("", 0, False)])[0].error or ""
    if "which no prompt column gives" in error:
        raise RewardLoadError(f"{error}. Add the column to the prompts, or give the parameter a default.")
    if "has no column reference" in error and not any(prompt.references for prompt in prompts):
        raise RewardLoadError(
            f"{error}. Call the column with the right answers 'reference', or write a reward that reads it by its own name."
        )
