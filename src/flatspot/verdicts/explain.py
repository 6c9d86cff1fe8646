"""Verdicts in sentences: what the rewards show, and what it means for the run. Numbers are only worded here: rounded, as percentages."""

from __future__ import annotations

from functools import lru_cache
from math import isfinite, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatspot.core.shares import noun, percent, percents_apart
from flatspot.stats.evidence import Evidence
from flatspot.verdicts.components import FEW, ComponentVerdicts
from flatspot.verdicts.judge import PromptVerdicts, SetJudgment
from flatspot.verdicts.numbers import PromptNumbers
from flatspot.verdicts.reward_signs import RewardSigns

_SENTENCES = 4096  # kept at a time: prompts with few completions, or with equal rewards, are often alike in every number
_SAME = 0.015  # of the prompts: two shares this close need no word


def explain_prompts(evidence: Evidence, verdicts: PromptVerdicts, numbers: PromptNumbers) -> list[str]:
    """One sentence per prompt, with the question that decided: whether there is a signal, and whether something is left to win."""
    columns: tuple[NDArray[Any], ...] = (
        verdicts.verdict, verdicts.leaning, verdicts.error_probability, evidence.n,
        evidence.mean, evidence.std == 0, numbers.mean, numbers.std,
        numbers.p_mixed, numbers.gain, numbers.mixed_decides, np.nan_to_num(numbers.r_star, nan=np.inf),
    )  # fmt: skip
    proved = np.zeros(len(verdicts.verdict), bool) if verdicts.proved is None else verdicts.proved
    # the numbers that decide which sentences are one must decide how they read: no -0.0, and of an r* that is not known no NaN
    whole = (column + 0.0 if column.dtype.kind == "f" else column for column in columns)
    rows = zip(proved.tolist(), *(column.tolist() for column in whole), strict=True)
    explain = lru_cache(_SENTENCES)(_explain_one)
    return [explain(numbers.group_size, *row) for row in rows]


def _explain_one(
    k: int,
    proved: bool,
    verdict: str,
    leaning: str,
    error: float,
    n: int,
    seen: float,
    equal: bool,
    mean: float,
    std: float,
    mixed: float,
    gain: float,
    by_mixed: bool,
    r_star: float,
) -> str:
    if verdict == "unscored":
        return "No completion has a reward; the column error of its rows says why."
    rewards = _rewards(n, seen, equal, mean, std)
    if verdict == "undecided":
        return f"Too few completions to decide: {rewards}; most likely {leaning}. Sample more, or accept the risk."
    chance = "proved" if proved else "error under 0.1%" if error < 0.001 else f"error {error:.1%}"
    if verdict == "learnable":
        signal = f"{percent(mixed)} of groups of {k} are mixed, and the best of {k} gains {gain:.2g}"
        return f"Leave it to RL: {rewards}; {signal}. ({chance})"
    lacking = f"{percent(mixed)} of groups of {k} are mixed" if by_mixed else f"the best of {k} gains only {gain:.2g} over the mean"
    if verdict == "solved":
        return f"Nothing left to learn: {rewards}; {lacking}. Spend no completions on it. ({chance})"
    left = f"{r_star:.3g} can be earned" if isfinite(r_star) else "what can be earned is not known"
    return f"RL gets almost no gradient here: {rewards}; {lacking}, and {left}. Label it, hint it, or drop it. ({chance})"


def _rewards(n: int, seen: float, equal: bool, mean: float, std: float) -> str:
    """What was seen, and of the prompt's mean and std what is estimated where that is another number.

    >>> _rewards(4, 0.0, True, 0.0, 0.0), _rewards(4, 0.0, True, 0.058, 0.23)
    ('all 4 rewards are 0', 'all 4 rewards are 0, mean estimated at 0.058')
    >>> _rewards(4, 0.25, False, 0.058, 0.23)
    '4 rewards, mean estimated at 0.058, std 0.23'
    """
    shown, of_mean = f"{seen:.3g}", f"{mean:.3g}"
    estimated = of_mean != shown
    of_mean = f"mean estimated at {of_mean}" if estimated else f"mean {of_mean}"
    if equal:
        return f"{f'all {n} rewards are' if n > 1 else 'its one reward is'} {shown}" + (f", {of_mean}" if estimated else "")
    return f"{noun(n, 'reward')}, {of_mean}" + ("" if isnan(std) else f", std {std:.2g}")


def explain_set(judgment: SetJudgment, signs: RewardSigns | None = None, flattest: ComponentVerdicts | None = None) -> tuple[str, str]:
    """(reason, rule) of the set's verdict: why, and the rule that fired with its numbers.

    flattest  the reward of several that vanishes most often where the total varies

    >>> from flatspot.verdicts.judge import SetJudgment
    >>> explain_set(SetJudgment("fix-data", "solved", 0.9, 0.8))[1]
    'solved prompts: 90% > 80%'
    """
    signs = signs or RewardSigns()
    share, limit = percents_apart(judgment.share, judgment.limit)
    counted = _counted(judgment)
    may_be = f"{percent(judgment.lo)} to {percent(judgment.hi)}"
    rules = {
        "noise": f"variance between equal completions: {share} > {limit}",
        "nothing": "no completions",
        "not-drawn": f"completions that could not be drawn: {share} > {limit}",
        "unscored": "no completion has a reward",
        "failed": f"rows without a reward: {share} > {limit}",
        "answers": f"real answers under half of the range: {share} >= {limit}",
        "truncated": f"completions cut, and worth least: {share} > {limit}",
        "ties": f"prompts on which rewards cancel out: {share} >= {limit}",
        "constant": "all rewards equal, at no known end of the range",
        "undecided": f"vanishing prompts: {may_be}, limit {limit}",
        "too-few": f"vanishing prompts: {may_be}, limit {limit}",
        "undecided-solved": f"solved prompts: {may_be}, limit {limit}",
        "too-few-solved": f"solved prompts: {may_be}, limit {limit}",
        "in-doubt": f"vanishing prompts: {may_be}, limit {limit}",
        "in-doubt-solved": f"solved prompts: {may_be}, limit {limit}",
        "solved": f"solved prompts: {share} > {limit}",
        "vanishing": f"vanishing prompts: {share} > {limit}",
        "flat-component": f"{judgment.component!r} vanishes where the total varies: {share} > {limit}",
        "none": f"vanishing prompts: {share} <= {limit}",
    }
    reasons = _unjudged(signs, share) | {
        "undecided": f"There are too few completions to decide: {share} of the prompts are undecided, and the gradient may vanish on "
        f"{may_be} of the set.",
        "undecided-solved": f"There are too few completions to decide: {share} of the prompts are undecided, and {may_be} of the set may "
        "be solved.",
        "too-few": f"There are too few completions of each prompt to decide: the gradient may vanish on {may_be} of the set.",
        "too-few-solved": f"There are too few completions of each prompt to decide: {may_be} of the set may be solved.",
        "in-doubt": f"There are too few completions to decide: the gradient may vanish on {may_be} of these prompts (limit {limit}).",
        "in-doubt-solved": f"There are too few completions to decide: {may_be} of these prompts may be solved (limit {limit}).",
        "solved": f"{share} of the prompts are already solved{counted}: this set leaves RL little to learn.",
        "vanishing": f"RL gets almost no gradient from {share} of the prompts{counted}, though they are not solved. A short SFT phase on "
        "a few of them fixes this; more RL will not.",
        "flat-component": f"The total varies, but on {share} of the prompts {judgment.component!r} does not: RL would learn from the other "
        f"rewards alone. The verdict is what {judgment.component!r} would get by itself; check first that it recognizes a right answer.",
        "none": f"The gradient vanishes on {share} of the prompts{counted}: RL can learn from this set as it is{_flat_too(flattest)}.",
    }
    return reasons[judgment.rule], rules[judgment.rule]


def _counted(judgment: SetJudgment) -> str:
    """How many prompts have the verdict, where that is another share than the one that decided; else nothing."""
    n, of = judgment.labeled
    if not of or abs(n / of - judgment.share) < _SAME:
        return ""
    return f" ({n} of {of} have the verdict; the rest count by probability)"


def _flat_too(flattest: ComponentVerdicts | None) -> str:
    """On how many prompts a reward vanishes though the total varies; nothing where on hardly any."""
    if flattest is None or flattest.flat_share <= FEW:
        return ""
    return f", but on {percent(flattest.flat_share)} of the prompts {flattest.name!r} vanishes and only other rewards vary"


def _unjudged(signs: RewardSigns, share: str) -> dict[str, str]:
    """Why the set cannot be judged yet, by rule."""
    earned = f"and earn little (mean {signs.cut_mean:.3g})"
    if not np.isnan(signs.whole_mean):
        earned = f"and those earn the least (mean {signs.cut_mean:.3g}; the others {signs.whole_mean:.3g})"
    return {
        "noise": f"Equal completions get different rewards: {share} of the variance within prompts is noise, and RL would learn it. If "
        "that is intended, as with an LLM judge that samples, average several calls.",
        "nothing": "There are no completions, so no prompt can be judged.",
        "not-drawn": f"{share} of the completions could not be drawn: their errors say why, most often that a prompt does not fit.",
        "unscored": "No completion has a reward, so no prompt can be judged.",
        "failed": f"{share} of the completions have no reward, so no other number here is reliable yet.",
        "answers": f"{share} of the real answers themselves earn less than half of the reward range: the reward does not pay for the "
        "right answer. If the column holds only the final answer of a longer text, leave out --answer-col.",
        "truncated": f"{share} of the completions were cut by the token limit, {earned}: the limit is measured, not the policy.",
        "ties": f"On {share} of the prompts the single rewards differ between completions, yet their sum is always the same: they cancel "
        "out, and RL gets no gradient.",
        "constant": "Every completion of every prompt earned the same reward: the reward does not depend on the answer.",
    }
