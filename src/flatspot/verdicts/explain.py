"""Verdicts in sentences: what was seen, and what it means for the run. No numbers are computed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.zones import STATES
from flatspot.verdicts.judge import PromptVerdicts, SetJudgement
from flatspot.verdicts.settings import JudgeSettings

_FEW_PROMPTS = 30
_DOUBTFUL = 3


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
        return "No completion got a reward: mend the reward function for this prompt."
    seen = (
        f"all {n} rewards are {mean:.3g}" if std == 0 else f"{n} rewards, mean {mean:.3g}" + ("" if np.isnan(std) else f", std {std:.2g}")
    )
    climb = f", {reach:.1f} stds below the {r_star:.3g} in reach" if np.isfinite(reach) and mean < r_star else ""
    sentence = {
        "learnable": f"Leave it to RL: {seen}{climb}.",
        "vanishing": f"RL gets almost no gradient here: {seen}{climb or f', and {r_star:.3g} is in reach'}. Label it, hint it, or drop it.",
        "solved": f"Nothing left to learn: {seen}. Do not spend rollouts on it.",
        "undecided": f"Too few samples to tell: {seen}; most likely {leaning}. Draw more, or accept the risk.",
    }[verdict]
    chance = "under 0.1%" if error < 0.001 else f"{error:.1%}"
    return f"{sentence} (error {chance})" if verdict != "undecided" else sentence


def explain_set(judgement: SetJudgement, settings: JudgeSettings) -> tuple[str, str]:
    """(reason, rule) of the set's verdict: why, and the rule that fired with its numbers."""
    share, limit = f"{judgement.share:.0%}", f"{judgement.limit:.0%}"
    reasons = {
        "failed": f"{share} of the completions have no reward, so nothing else here can be trusted yet.",
        "references": f"{share} of the reference answers themselves earn less than half of the reward range: the reward does not pay for "
        "the right answer.",
        "constant": "Every completion of every prompt earned the same reward: the reward does not depend on the answer.",
        "solved": f"{share} of the prompts are already solved: there is little left for RL to teach on this set.",
        "vanishing": f"{share} of the prompts give RL almost no gradient, far below the best reward. "
        "A short supervised phase on a few of them mends that; more RL does not.",
        "none": f"The gradient vanishes on {share} of the prompts: RL can learn from this set as it is.",
    }
    rules = {
        "failed": f"rows without a reward: {share} > {limit}",
        "references": f"references under half of the range: {share} >= {limit}",
        "constant": "all rewards equal, inside the range",
        "solved": f"solved prompts: {share} > {limit}",
        "vanishing": f"vanishing prompts: {share} > {limit}",
        "none": f"vanishing prompts: {share} <= {limit}",
    }
    return reasons[judgement.rule], rules[judgement.rule]


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun} was" if n == 1 else f"{n} {noun}s were"


def caveats(
    evidence: Evidence,
    settings: JudgeSettings,
    *,
    range_source: str,
    model: str,
    misfit: Sequence[str],
    identical_share: float | None,
    truncated_share: float | None,
) -> list[str]:
    """What a reader must know before trusting the numbers; empty where nothing stands out."""
    found = []
    if range_source != "given":
        found.append(
            f"The reward range [{settings.reward_lo:.3g}, {settings.reward_hi:.3g}] was {range_source}; state it with --reward-range LO HI."
        )
    scored = evidence.n > 0
    top = np.nanmax(evidence.high) if scored.any() else np.nan
    if scored.any() and top <= settings.reward_lo:
        found.append(
            f"Every reward is {settings.reward_lo:.3g}, the bottom of its range: either the task is out of reach, or the reward does not "
            "recognise a right answer. Read a few completions before believing either."
        )
    if 0 < scored.sum() < _FEW_PROMPTS:
        found.append(f"Only {_counted(int(scored.sum()), 'prompt')} scored: what is pooled over the set is uncertain.")
    if scored.any() and np.median(evidence.n[scored]) < 4:
        found.append(f"Only {np.median(evidence.n[scored]):.0f} scored samples per prompt: most verdicts lean on the rest of the set.")
    if model in ("continuous", "zero-inflated", "mixed"):
        found.append("The reward is continuous: verdicts assume near-normal rewards within a prompt, and are provisional.")
    found += [text[:1].upper() + text[1:] + "." for text in misfit]
    if truncated_share is not None and truncated_share > 0.2:
        found.append(f"{truncated_share:.0%} of the completions were cut by the token limit: raise --max-new-tokens if answers come late.")
    if identical_share is not None and identical_share > 0.9 and scored.any() and np.median(evidence.n[scored]) >= 4:
        found.append(
            f"On {identical_share:.0%} of the prompts all completions are one text: check temperature and seeds, or it has collapsed."
        )
    return found


def doubtful_error(verdicts: PromptVerdicts, settings: JudgeSettings) -> list[str]:
    """A caveat where the samples allow an error far above the target.

    Few samples allow some such error in most sets, well-behaved ones included: twice the target is nothing unusual. Of fewer than 30
    prompts another caveat says that all is uncertain.
    """
    limit, scored = verdicts.error_limit, int((verdicts.verdict != "unscored").sum())
    if settings.sure:
        return _what_sure_did(verdicts)
    if scored < _FEW_PROMPTS or not limit > _DOUBTFUL * settings.target_error:
        return []
    return [
        f"If prompts crowd just on both sides of a limit, up to {limit:.0%} of the verdicts are wrong; --sure draws more there, and leaves "
        "undecided what stays in doubt."
    ]


def _what_sure_did(verdicts: PromptVerdicts) -> list[str]:
    given, open_ = int(np.isin(verdicts.verdict, STATES).sum()), int((verdicts.verdict == "undecided").sum())
    if given and not np.isfinite(verdicts.error_limit):
        return ["--sure asks for a limit on the error, which is known for two-valued rewards only: it changed nothing here."]
    if open_ > given:
        return [
            f"--sure leaves {_counted(open_, 'prompt')} undecided: the samples allow too many of their verdicts to be wrong. More "
            "completions of each prompt settle them, or a larger --target-error."
        ]
    return []


def unsure_rule(judgement: SetJudgement, fractions: Floats) -> list[str]:
    """A caveat where the interval of the share that decided reaches across the rule's limit."""
    row = {"vanishing": 0, "none": 0, "solved": 2}.get(judgement.rule)
    if row is None:
        return []
    _, lo, hi = fractions[row]
    if not lo <= judgement.limit <= hi:
        return []
    return [f"The verdict is a close call: the share it rests on may be {lo:.0%} to {hi:.0%}, and its limit is {judgement.limit:.0%}."]
