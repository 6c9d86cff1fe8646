"""Verdicts in sentences: what the rewards show, and what it means for the run. Numbers are only worded here: rounded, as percentages."""

from __future__ import annotations

import numpy as np

from flatspot.core.shares import percent, percents_apart
from flatspot.stats.evidence import Evidence, Floats
from flatspot.verdicts.judge import PromptVerdicts, SetJudgment
from flatspot.verdicts.reward_signs import RewardSigns


def explain_prompts(evidence: Evidence, verdicts: PromptVerdicts, reach: Floats, r_star: Floats) -> list[str]:
    """One sentence per prompt."""
    return [
        _explain_one(*row)
        for row in zip(
            verdicts.verdict.tolist(),
            verdicts.leaning.tolist(),
            verdicts.error_probability.tolist(),
            evidence.n.tolist(),
            evidence.mean.tolist(),
            evidence.std.tolist(),
            reach.tolist(),
            r_star.tolist(),
            strict=True,
        )
    ]


def _explain_one(verdict: str, leaning: str, error: float, n: int, mean: float, std: float, reach: float, r_star: float) -> str:
    if verdict == "unscored":
        return "No completion has a reward: fix the reward function for this prompt."
    rewards = (
        f"all {n} rewards are {mean:.3g}" if std == 0 else f"{n} rewards, mean {mean:.3g}" + ("" if np.isnan(std) else f", std {std:.2g}")
    )
    climb = f", {reach:.1f} stds below the {r_star:.3g} in reach" if np.isfinite(reach) and mean < r_star else ""
    sentence = {
        "learnable": f"Leave it to RL: {rewards}{climb}.",
        "vanishing": f"RL gets almost no gradient here: {rewards}{climb or f', and {r_star:.3g} is in reach'}. "
        "Label it, hint it, or drop it.",
        "solved": f"Nothing left to learn: {rewards}. Spend no completions on it.",
        "undecided": f"Too few completions to decide: {rewards}; most likely {leaning}. Sample more, or accept the risk.",
    }[verdict]
    chance = "under 0.1%" if error < 0.001 else f"{error:.1%}"
    return f"{sentence} (error {chance})" if verdict != "undecided" else sentence


def explain_set(judgment: SetJudgment, signs: RewardSigns | None = None) -> tuple[str, str]:
    """(reason, rule) of the set's verdict: why, and the rule that fired with its numbers.

    >>> from flatspot.verdicts.judge import SetJudgment
    >>> explain_set(SetJudgment("fix-data", "solved", 0.9, 0.8))[1]
    'solved prompts: 90% > 80%'
    """
    signs = signs or RewardSigns()
    share, limit = percents_apart(judgment.share, judgment.limit)
    may_be = f"{percent(judgment.lo)} to {percent(judgment.hi)}"
    rules = {
        "noise": f"variance between equal completions: {share} > {limit}",
        "nothing": "no completions",
        "failed": f"rows without a reward: {share} > {limit}",
        "references": f"references under half of the range: {share} >= {limit}",
        "truncated": f"completions cut, and worth least: {share} > {limit}",
        "ties": f"prompts on which rewards cancel out: {share} >= {limit}",
        "constant": "all rewards equal, inside the range",
        "undecided": f"vanishing prompts: {may_be}, limit {limit}",
        "too-few": f"vanishing prompts: {may_be}, limit {limit}",
        "undecided-solved": f"solved prompts: {may_be}, limit {limit}",
        "too-few-solved": f"solved prompts: {may_be}, limit {limit}",
        "solved": f"solved prompts: {share} > {limit}",
        "vanishing": f"vanishing prompts: {share} > {limit}",
        "flat-part": f"{signs.flat_part!r} hardly varies",
        "none": f"vanishing prompts: {share} <= {limit}",
    }
    reasons = _unjudged(signs, share) | {
        "undecided": f"There are too few completions to decide: {share} of the prompts are undecided, and the gradient may vanish on "
        f"{may_be} of the set.",
        "undecided-solved": f"There are too few completions to decide: {share} of the prompts are undecided, and {may_be} of the set may "
        "be solved.",
        "too-few": f"There are too few completions of each prompt to decide: the gradient may vanish on {may_be} of the set.",
        "too-few-solved": f"There are too few completions of each prompt to decide: {may_be} of the set may be solved.",
        "solved": f"{share} of the prompts are already solved: this set leaves RL little to learn.",
        "vanishing": f"RL gets almost no gradient from {share} of the prompts, though their rewards are far from the best. "
        "A short SFT phase on a few of them fixes this; more RL will not.",
        "flat-part": f"The reward {signs.flat_part!r} is low and hardly varies on any prompt; the others vary on {percent(signs.others)}. "
        f"RL would learn from those alone. If {signs.flat_part!r} is what the training is for, warm up, or check that it recognizes "
        "a right answer.",
        "none": f"The gradient vanishes on {share} of the prompts: RL can learn from this set as it is"
        + (f", but hardly from {signs.hidden_part!r}." if signs.hidden_part else "."),
    }
    return reasons[judgment.rule], rules[judgment.rule]


def _unjudged(signs: RewardSigns, share: str) -> dict[str, str]:
    """Why the set cannot be judged yet, by rule."""
    earned = f"and earn little (mean {signs.cut_mean:.3g})"
    if not np.isnan(signs.whole_mean):
        earned = f"and those earn the least (mean {signs.cut_mean:.3g}; the others {signs.whole_mean:.3g})"
    return {
        "noise": f"Equal completions get different rewards: {share} of the variance within prompts is noise, and RL would learn it. If "
        "that is intended, as with an LLM judge that samples, average several calls.",
        "nothing": "There are no completions, so no prompt can be judged.",
        "failed": f"{share} of the completions have no reward, so no other number here is reliable yet.",
        "references": f"{share} of the reference answers themselves earn less than half of the reward range: the reward does not pay for "
        "the right answer. If a reference is only the final answer of a longer text, call its column by another name, such as answer.",
        "truncated": f"{share} of the completions were cut by the token limit, {earned}: the limit is measured, not the policy.",
        "ties": f"On {share} of the prompts the single rewards differ between completions, yet their sum is always the same: they cancel "
        "out, and RL gets no gradient.",
        "constant": "Every completion of every prompt earned the same reward: the reward does not depend on the answer.",
    }
