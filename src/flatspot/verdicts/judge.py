"""A verdict per prompt, and one for the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.decide import give_verdicts, in_doubt
from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.models.binary import is_binary
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.identified_set import too_few
from flatspot.stats.models.proved import ProvedModel
from flatspot.verdicts.reward_signs import RewardSigns
from flatspot.verdicts.settings import JudgeSettings

_FEW = 0.05  # of the prompts: what holds on so few says nothing of the set
VERDICTS = ("learnable", "vanishing", "solved", "undecided", "unscored")
SetVerdict = Literal["proceed", "warm-up", "fix-reward", "fix-data", "fix-sampling", "draw-more"]


@dataclass(frozen=True)
class PromptVerdicts:
    """One verdict per prompt: its name, the probability that it is wrong, and the state it leans to where it is undecided.

    worst_case_error  the largest share of wrong verdicts that the rewards allow; NaN where it is not known
    proved            whether it cannot be wrong, whatever completions that nobody has seen would earn; None where their probability is
                      not known
    """

    verdict: NDArray[np.str_]
    error_probability: Floats
    leaning: NDArray[np.str_]
    worst_case_error: float
    proved: NDArray[np.bool_] | None = None


def judge_prompts(model: FittedModel, settings: JudgeSettings) -> PromptVerdicts:
    """The least wrong verdict of each prompt; the surest over the set are given while they err at most `target_error` on average.

    The rule is that of triage (`stats.decide`): a Bayes false discovery rate over the whole set. What is not given is undecided. With
    `worst_case`, not the mean error but the worst-case error is held to `target_error`; and also where the prompts have so few completions
    that very different sets explain them equally well, for then the mean error is mostly the fit's own assumption.
    """
    proved_at_all = model.proved if isinstance(model, ProvedModel) else np.zeros(len(model.n), bool)
    worst_case = settings.worst_case or too_few(model.n[(model.n > 0) & ~proved_at_all])
    decisions = give_verdicts(model, settings.target_error, worst_case=worst_case)
    worst = model.worst_case_error(decisions.state, realized=True)
    proved = model.proved & decisions.decided if isinstance(model, ProvedModel) else None
    return PromptVerdicts(decisions.verdict, decisions.error_probability, decisions.leaning, worst, proved)


@dataclass(frozen=True)
class SetJudgment:
    """What to do about the whole set: the verdict, the rule that fired, the share it fired on, and what else its sentence needs.

    lo, hi     95% limits of a share of states, else the share itself
    labeled    (prompts that got the state's verdict, prompts with a reward); the share also counts the others, by their probability
    component  the reward that it rests on; "" for the total
    """

    verdict: SetVerdict
    rule: str
    share: float
    limit: float
    lo: float = float("nan")
    hi: float = float("nan")
    labeled: tuple[int, int] = (0, 0)
    component: str = ""


def judge_set(
    verdicts: PromptVerdicts,
    model: FittedModel,
    evidence: Evidence,
    n_rows: Ints,
    settings: JudgeSettings,
    answer_rewards: Floats,
    signs: RewardSigns | None = None,
    n_not_drawn: Ints | None = None,
) -> SetJudgment:
    """The first rule that fires, in this order: whether the set can be judged at all, then what it is.

    n_not_drawn    of the n_rows, those that the engine could not draw, as of a prompt that does not fit

    1.  noise       most of the variance within prompts is between equal completions                → fix-reward
    2.  nothing     no completion was drawn                                                         → draw-more
        not-drawn   more than half of the completions could not be                                  → fix-sampling
    3.  failed      more than `failed_above` of those drawn have no reward, or all of them ("unscored") → fix-reward
    4.  answers     under a verifier, at least half of the real answers earn less than half the range, and so do
                    all completions of nearly all of these prompts                                   → fix-reward
    5.  truncated   more than half of the completions were cut, and those earn the least              → fix-sampling
    6.  ties        on half of the prompts or more the parts vary and their sum does not              → fix-reward
    7.  constant    two or more prompts, every reward equal, strictly inside the range or with none stated → fix-reward
    8.  the first of `judge_shares`
    9.  none of these; `components.with_components` may yet judge by one of several rewards             → proceed
    """
    signs = signs or RewardSigns()
    broken = _cannot_be_judged(evidence, n_rows, 0 if n_not_drawn is None else int(n_not_drawn.sum()), settings, answer_rewards, signs)
    return judge_shares(verdicts, model, evidence, settings) if broken is None else broken


def judge_shares(verdicts: PromptVerdicts, model: FittedModel, evidence: Evidence, settings: JudgeSettings) -> SetJudgment:
    """What the shares of the states say of the set, the first that fires.

    undecided   most prompts are, or have under four completions, and the limits of a share below hold its limit → draw-more
    in-doubt    by more than the target error, a share below may well be on either side of its limit (`in_doubt`) → draw-more
    solved      more than `solved_above` of the set is solved                                    → fix-data
    vanishing   more than `warm_up_above` of the set vanishes                                    → warm-up
    none        of these                                                                         → proceed

    Shares of states are posterior means, so undecided prompts count by what they probably are.
    """
    (vanishing, v_lo, v_hi), _, (solved, s_lo, s_hi) = model.shares.tolist()
    undecided, scored = int((verdicts.verdict == "undecided").sum()), int((evidence.n > 0).sum())
    labeled = {name: (int((verdicts.verdict == name).sum()), scored) for name in ("vanishing", "solved")}
    few = too_few(evidence.n[(evidence.n > 0) & (True if verdicts.proved is None else ~verdicts.proved)])
    if few or 2 * undecided > scored:
        why, share = "too-few" if few else "undecided", undecided / evidence.n_prompts
        if v_lo <= settings.warm_up_above < v_hi:
            return SetJudgment("draw-more", why, share, settings.warm_up_above, v_lo, v_hi)
        if s_lo <= settings.solved_above < s_hi:
            return SetJudgment("draw-more", f"{why}-solved", share, settings.solved_above, s_lo, s_hi)
    for (state, limit), rule in zip(settings.share_limits, ("in-doubt", "in-doubt-solved"), strict=True):
        if in_doubt(model, state, limit, settings.target_error):
            return SetJudgment("draw-more", rule, float(model.shares[state, 0]), limit, *model.set_limits(state))
    if solved > settings.solved_above:
        return SetJudgment("fix-data", "solved", solved, settings.solved_above, s_lo, s_hi, labeled["solved"])
    if vanishing > settings.warm_up_above:
        return SetJudgment("warm-up", "vanishing", vanishing, settings.warm_up_above, v_lo, v_hi, labeled["vanishing"])
    return SetJudgment("proceed", "none", vanishing, settings.warm_up_above, v_lo, v_hi, labeled["vanishing"])


def _cannot_be_judged(
    evidence: Evidence, n_rows: Ints, not_drawn: int, settings: JudgeSettings, answer_rewards: Floats, signs: RewardSigns
) -> SetJudgment | None:
    """What makes everything else meaningless; None where nothing does."""
    if signs.noisy:
        return SetJudgment("fix-reward", "noise", min(signs.noise_share, 1.0), 0.5)
    total = int(n_rows.sum())
    if total == 0:
        return SetJudgment("draw-more", "nothing", 1.0, 1.0)
    if 2 * not_drawn > total:
        return SetJudgment("fix-sampling", "not-drawn", not_drawn / total, 0.5)
    failed = 1 - evidence.n.sum() / (total - not_drawn)  # no reward saw the others
    if failed > settings.failed_above:
        return SetJudgment("fix-reward", "failed", float(failed), settings.failed_above)
    if failed == 1:
        return SetJudgment("fix-reward", "unscored", 1.0, 1.0)
    poor, better = poor_answers(evidence, settings, answer_rewards)
    if poor >= 0.5 and better <= _FEW:
        return SetJudgment("fix-reward", "answers", poor, 0.5)
    if signs.cut_short(settings.reward_lo, settings.reward_hi):
        return SetJudgment("fix-sampling", "truncated", signs.cut_share, 0.5)
    if signs.ties >= 0.5:
        return SetJudgment("fix-reward", "ties", signs.ties, 0.5)
    if _constant(evidence, settings):
        return SetJudgment("fix-reward", "constant", 1.0, 1.0)
    return None


def poor_answers(evidence: Evidence, settings: JudgeSettings, answer_rewards: Floats) -> tuple[float, float]:
    """(Share of the real answers that earn under half of the range, share of those prompts on which a completion earns more than that.)

    Both 0 where the reward is no verifier: of a metric, half of the range is much.
    """
    known, low = np.isfinite(answer_rewards), settings.zones.low(answer_rewards)
    verifier = settings.top_reachable or is_binary(evidence, settings.zones, answer_rewards)
    if not (low.any() and verifier):
        return 0.0, 0.0
    better = np.isfinite(evidence.high) & ~settings.zones.low(evidence.high)
    return float(low.sum() / known.sum()), float(better[low].mean())


def _constant(evidence: Evidence, settings: JudgeSettings) -> bool:
    """One reward for every completion of every prompt, strictly inside the range or where nobody states one.

    A set that is all at the bottom is not caught here: it may simply be too hard, and is judged as vanishing, with a caveat.
    """
    low, high = np.nanmin(evidence.low), np.nanmax(evidence.high)
    inside = not settings.stated or (settings.reward_lo < low and high < settings.reward_hi)
    return bool(evidence.n_prompts > 1 and high - low <= 1e-6 * max(abs(high), abs(low)) and inside)
