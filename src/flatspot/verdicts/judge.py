"""A verdict per prompt, and one for the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.doubt import error_limit, given_verdicts
from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.posterior import Posterior
from flatspot.stats.zones import STATES
from flatspot.verdicts.settings import JudgeSettings

VERDICTS = ("learnable", "vanishing", "solved", "undecided", "unscored")
SetVerdict = Literal["proceed", "warm-up", "fix-reward", "fix-data"]


@dataclass(frozen=True)
class PromptVerdicts:
    """One verdict per prompt: its name, the probability that it is wrong, and its state's nearest guess where it is undecided.

    error_limit  the largest mean error of those given that the rewards allow (`stats.doubt`); NaN where it is not known
    """

    verdict: NDArray[np.str_]
    error_probability: Floats
    leaning: NDArray[np.str_]
    error_limit: float


def judge_prompts(evidence: Evidence, posterior: Posterior, settings: JudgeSettings, r_star: Floats) -> PromptVerdicts:
    """The least wrong verdict of each prompt; the surest over the set are given while they err at most `target_error` on average.

    The rule is that of triage (`stats.decide`): a Bayes false discovery rate over the whole set. What is not given is undecided. With
    `sure`, not the mean error but its limit is held to `target_error` (`stats.doubt`).
    """
    scored = evidence.n > 0
    found = given_verdicts(evidence, r_star, settings.zones, posterior.wrong, settings.target_error, sure=settings.sure)
    leaning = np.array(STATES)[found.best]
    verdict = np.where(~scored, "unscored", np.where(found.decided, leaning, "undecided"))
    return PromptVerdicts(
        verdict, np.where(scored, found.error, np.nan), np.where(scored, leaning, ""), error_limit(evidence, r_star, settings.zones, found)
    )


@dataclass(frozen=True)
class SetJudgement:
    """What to do about the whole set: the verdict, the rule that fired, and the share it fired on."""

    verdict: SetVerdict
    rule: str
    share: float
    limit: float


def judge_set(
    verdicts: PromptVerdicts,
    posterior: Posterior,
    evidence: Evidence,
    n_rows: Ints,
    settings: JudgeSettings,
    reference_rewards: Floats,
) -> SetJudgement:
    """The first rule that fires, in this order.

    1. failed      more than `failed_above` of the rows have no reward                   → fix-reward
    2. references  at least half of the reference answers earn less than half the range   → fix-reward
    3. constant    two or more prompts, every reward equal, strictly inside the range      → fix-reward
    4. solved      more than `solved_above` of the set is solved                          → fix-data
    5. vanishing   more than `warm_up_above` of the set vanishes                          → warm-up
    6. none of these                                                                      → proceed

    Shares of states are posterior means, so undecided prompts count by what they probably are.
    """
    total = int(n_rows.sum())
    failed = 1 - evidence.n.sum() / total if total else 1.0
    if failed > settings.failed_above:
        return SetJudgement("fix-reward", "failed", float(failed), settings.failed_above)
    known = reference_rewards[np.isfinite(reference_rewards)]
    poor = float((known < (settings.reward_lo + settings.reward_hi) / 2).mean()) if len(known) else 0.0
    if poor >= 0.5:
        return SetJudgement("fix-reward", "references", poor, 0.5)
    if _constant(evidence, settings):
        return SetJudgement("fix-reward", "constant", 1.0, 1.0)
    share = dict(zip(STATES, posterior.fractions[:, 0], strict=True))
    if share["solved"] > settings.solved_above:
        return SetJudgement("fix-data", "solved", float(share["solved"]), settings.solved_above)
    if share["vanishing"] > settings.warm_up_above:
        return SetJudgement("warm-up", "vanishing", float(share["vanishing"]), settings.warm_up_above)
    return SetJudgement("proceed", "none", float(share["vanishing"]), settings.warm_up_above)


def _constant(evidence: Evidence, settings: JudgeSettings) -> bool:
    """One reward for every completion of every prompt, strictly inside the range.

    A set that is all at the bottom is not caught here: it may simply be too hard, and is judged as vanishing, with a caveat.
    """
    low, high = np.nanmin(evidence.low), np.nanmax(evidence.high)
    inside = settings.reward_lo < low and high < settings.reward_hi
    return bool(evidence.n_prompts > 1 and high - low <= 1e-6 * max(abs(high), abs(low)) and inside)
