"""The reference answers of prompts, scored: the best a prompt can be expected to earn."""

from __future__ import annotations

from collections.abc import Sequence

from flatspot.core.errors import RewardLoadError
from flatspot.core.protocols import Reward
from flatspot.core.records import Completion, Prompt


def reference_rewards(reward: Reward, prompts: Sequence[Prompt]) -> list[float | None]:
    """The best reward among each prompt's reference answers, scored as if the policy had given them.

    None where a prompt has no reference, or none of its references could be scored; and for all where the reward compares the completions
    of a group, of which a reference is none.

    >>> from flatspot.rewards import load_reward
    >>> reference_rewards(load_reward("exact_match"), [Prompt("a", "2+2=", {"reference": "4"}), Prompt("b", "?")])
    [1.0, None]
    """
    rows = [(i, reference) for i, prompt in enumerate(prompts) for reference in prompt.references]
    best: list[float | None] = [None] * len(prompts)
    try:
        if compares(reward):
            return best
        # a reference is text, so its length in tokens is unknown here; no reward may depend on it
        scores = reward.score([prompts[i] for i, _ in rows], [Completion(reference, 0, False) for _, reference in rows])
    except RewardLoadError:
        if compares(reward) and getattr(reward, "group_size", None) is not None:
            return best
        raise
    for (i, _), score in zip(rows, scores, strict=True):
        if score.reward is not None and (best[i] is None or score.reward > best[i]):  # type: ignore[operator]
            best[i] = score.reward
    return best


def compares(reward: Reward) -> bool:
    """Whether a reward was seen to compare the completions of a call."""
    return bool(getattr(reward, "compares", False))
