"""What a reader must know before trusting the numbers: a stable code for programs, a sentence for people. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatspot.core.shares import percent, short
from flatspot.rollouts.prompts import UnscoredAnswers
from flatspot.runs.clusters import Clusters
from flatspot.stats.decide import rests_on_fit, shapes_in_doubt
from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.intervals import moved_together
from flatspot.stats.models.clusters import FEW_CLUSTERS
from flatspot.stats.zones import STATES
from flatspot.verdicts.components import FEW, ComponentVerdicts
from flatspot.verdicts.judge import PromptVerdicts, SetJudgment, poor_answers
from flatspot.verdicts.numbers import PromptNumbers
from flatspot.verdicts.reward_signs import RewardSigns
from flatspot.verdicts.settings import JudgeSettings

FEW_PROMPTS = 30


@dataclass(frozen=True)
class Caveat:
    """A sentence, and its code of `CODES`; "" where whoever said it has none."""

    code: str
    text: str


def as_caveat(note: Any) -> Caveat:
    """A note as it came or as notes.json has it: a sentence alone, or a code and a sentence.

    >>> as_caveat("Rows 7 and 8 were left out."), as_caveat(["truncated-completions", "Half were cut."])
    (Caveat(code='', text='Rows 7 and 8 were left out.'), Caveat(code='truncated-completions', text='Half were cut.'))
    """
    if isinstance(note, Caveat):
        return note
    if isinstance(note, list | tuple) and len(note) == 2:
        return Caveat(str(note[0]), str(note[1]))
    return Caveat("", str(note))


def sign_caveats(signs: RewardSigns) -> list[Caveat]:
    """What the rows say against the reward, also where the headline rests on it."""
    caveats = []
    if signs.n_unequal:
        share = f"; that is {percent(min(signs.noise_share, 1.0))} of the variance within prompts" if np.isfinite(signs.noise_share) else ""
        text = (
            f"Equal completions of a prompt got different rewards in {signs.n_unequal:,} of {signs.n_repeats:,} repeats{share}. The reward "
            "is noisy, or depends on more than the completion; RL learns noise as readily as anything else."
        )
        caveats.append(Caveat("noisy-reward", text))
    if signs.ties:
        text = f"On {percent(signs.ties)} of the prompts the rewards differ but their sum does not: they cancel out. Check the weights."
        caveats.append(Caveat("components-tie", text))
    return caveats


def close_call(judgment: SetJudgment, population: str) -> list[Caveat]:
    """Where the share that decided may lie on the other side of the rule's limit in another set of prompts.

    population  the prompts that the limits of the share are for
    """
    if judgment.rule not in ("vanishing", "none", "solved") or not judgment.lo <= judgment.limit <= judgment.hi:
        return []
    state = "solved" if judgment.rule == "solved" else "vanishing"
    text = (
        f"The verdict is for these prompts. Among {population} the {state} share may be {percent(judgment.lo)} to "
        f"{percent(judgment.hi)} (limit {percent(judgment.limit)}), so another set of them may get another verdict."
    )
    return [Caveat("close-call", text)]


def flat_components(components: Sequence[ComponentVerdicts]) -> list[Caveat]:
    """Of several rewards, those that no completion earns, and those that vanish on prompts whose total varies."""
    never = _never_earned(components)
    return [
        Caveat("flat-component", f"{name!r} is {reward:.3g} on every completion: RL learns from the others alone.")
        for name, reward in never.items()
    ] + [
        Caveat(
            "flat-component",
            f"On {percent(part.flat_share)} of the prompts the total varies but {part.name!r} vanishes: there RL learns from the other "
            "rewards alone.",
        )
        for part in components
        if part.weight > 0 and part.flat_share > FEW and part.name not in never
    ]


def _never_earned(components: Sequence[ComponentVerdicts]) -> dict[str, float]:
    """The rewards with a weight above 0 that are one value, 0 or less, on every completion, while another one varies; by name."""
    values = {part.name: np.unique(part.evidence.tally.reward) for part in components}
    if not any(len(seen) > 1 for seen in values.values()):
        return {}
    return {part.name: float(seen[0]) for part in components if part.weight > 0 and len(seen := values[part.name]) == 1 and seen[0] <= 0}


def unknown_tops(components: Sequence[ComponentVerdicts]) -> list[Caveat]:
    """Of several rewards without a range, those that always give the most that was seen of them on some prompts."""
    return [
        Caveat(
            "component-range",
            f"{part.name!r} always gives {np.nanmax(part.evidence.high):.3g} on {_several(part.at_most, 'prompt')}, the most that was seen "
            "of it. Nobody states whether it can give more, so it is not taken as solved there. Its function can declare that: "
            f"{part.name}.reward_range = (LO, HI).",
        )
        for part in components
        if part.weight > 0 and part.at_most
    ]


def low_answers(evidence: Evidence, settings: JudgeSettings, answer_rewards: Floats, judgment: SetJudgment) -> list[Caveat]:
    """Where real answers earn too little under a reward that should pay for them; nothing where that is the headline."""
    poor, _ = poor_answers(evidence, settings, answer_rewards)
    if not poor or judgment.rule == "answers":
        return []
    text = (
        f"{percent(poor)} of the real answers (--answer-col) earn less than half of the reward range. If the column holds only the final "
        "answer of a longer text, leave the option out; if it holds what the policy should write, the reward does not pay for it."
    )
    return [Caveat("low-references", text)]


def unscored_answers(unscored: UnscoredAnswers | None) -> list[Caveat]:
    """Where real answers have no reward: what a prompt can be expected to earn rests on the others, or is not known."""
    if unscored is None:
        return []
    text = (
        f"{unscored.n:,} of the {_several(unscored.of, 'real answer')} could not be scored, so they do not count for what is achievable. "
        f"The most frequent reason: {unscored.reason[:200]}"
    )
    return [Caveat("unscored-answers", text)]


def advantage_matters(verdicts: PromptVerdicts, numbers: PromptNumbers, settings: JudgeSettings) -> list[Caveat]:
    """Where prompts vanish only for want of gain, which normalized advantages would blow up."""
    small = int(((verdicts.verdict == "vanishing") & ~numbers.mixed_decides).sum())
    if settings.advantage != "centered" or not small:
        return []
    text = (
        f"On {small} of the vanishing prompts rewards differ, but by little. That starves where advantages are rewards less a baseline "
        "(PPO, RLOO, scale_rewards=none); GRPO's default divides them by the group's std: --advantage normalized judges for that."
    )
    return [Caveat("advantage-matters", text)]


def set_caveats(
    evidence: Evidence,
    settings: JudgeSettings,
    *,
    range_source: str,
    model: str,
    verdicts: PromptVerdicts,
    misfit: Sequence[str],
    identical_share: float | None,
    truncated_share: float | None,
) -> list[Caveat]:
    """What stands out in the set; empty where nothing does."""
    caveats = []
    scored = evidence.n > 0
    top = np.nanmax(evidence.high) if scored.any() else np.nan
    if scored.any() and top <= settings.reward_lo:
        text = (
            f"Every reward is {short(settings.reward_lo)}, the bottom of its range: either the task is out of reach, or the reward does "
            "not recognize a right answer. Read a few completions before assuming either."
        )
        caveats.append(Caveat("all-low", text))
    if range_source != "given":
        limits = f"[{short(settings.reward_lo)}, {short(settings.reward_hi)}]"
        caveats.append(Caveat("range-assumed", f"The reward range {limits} was {range_source}; state it with --reward-range LO HI."))
    if settings.top_reachable and not settings.stated:
        text = "--top-reachable has no effect, for the top of the reward is not known: state it with --reward-range LO HI."
        caveats.append(Caveat("top-without-range", text))
    if 0 < scored.sum() < FEW_PROMPTS:
        text = (
            f"Only {_counted(int(scored.sum()), 'prompt')} scored: shares and mixed groups hold for the set, and say little of other "
            "prompts like these, and several times as many verdicts may be wrong as predicted."
        )
        caveats.append(Caveat("few-prompts", text))
    if scored.any() and (middle := np.median(evidence.n[scored])) < 4:
        many = f"{middle:g} scored completion{'' if middle == 1 else 's'}"
        text = f"Only {many} per prompt: verdicts rest on the other prompts of the set, and few are given."
        caveats.append(Caveat("few-completions", text))
    if model in ("continuous", "zero-inflated", "mixed"):
        caveats.append(_provisional(verdicts))
    caveats += [Caveat("model-misfit", text[:1].upper() + text[1:] + ".") for text in misfit]
    if truncated_share is not None and truncated_share > 0.2:
        text = f"{percent(truncated_share)} of the completions were cut by the token limit: raise --max-new-tokens if answers come late."
        caveats.append(Caveat("truncated-completions", text))
    if identical_share is not None and identical_share > 0.9 and scored.any() and np.median(evidence.n[scored]) >= 4:
        text = (
            f"On {percent(identical_share)} of the prompts all completions are one text: check temperature and seeds, or it has collapsed."
        )
        caveats.append(Caveat("identical-completions", text))
    return caveats


def _provisional(verdicts: PromptVerdicts) -> Caveat:
    text = "The reward is continuous: verdicts rest on the shapes that rewards have within a prompt, and are provisional."
    error = verdicts.error_probability[np.isin(verdicts.verdict, STATES)]
    if shapes_in_doubt(error):
        expected, most = 100 * error.mean(), 100 * moved_together(error)
        text += f" Where these are off, {most:.1f}% of the verdicts may be wrong instead of the predicted {expected:.1f}%."
    return Caveat("provisional-model", text)


def task_caveats(clusters: Clusters | None) -> list[Caveat]:
    """Where prompts are of several tasks: which prompts the limits are not for.

    clusters  of the prompts with a reward: tasks of which none was scored tell nothing
    """
    if clusters is None or clusters.count < (1 if clusters.used else 2):
        return []
    if not clusters.used:
        few = clusters.count < FEW_CLUSTERS
        others = "Of other tasks so few say nothing." if few else f"For prompts of other tasks: --cluster-col {clusters.column}."
        text = (
            f"The prompts are of {clusters.count} tasks (column {clusters.column!r}), and the limits of shares and forecast are for "
            f"further prompts of the same ones. {others}"
        )
        return [Caveat("same-tasks", text)]
    if clusters.count < FEW_CLUSTERS:
        text = (
            f"The prompts are of {clusters.count} task{'' if clusters.count == 1 else 's'} (column {clusters.column!r}): under "
            f"{FEW_CLUSTERS} say nothing of other tasks, so the limits of shares and forecast are 0 and 1. For further prompts of the "
            "same tasks: "
            "--cluster-col none."
        )
        return [Caveat("few-tasks", text)]
    return []


def doubtful_error(verdicts: PromptVerdicts, settings: JudgeSettings) -> list[Caveat]:
    """A caveat where the completions allow an error above the predicted one (`stats.decide.rests_on_fit`).

    They do in most sets, well-behaved ones included, unless the target is low or most prompts are plainly of one kind. Of fewer than 30
    prompts another caveat says that all is uncertain.
    """
    limit, given = verdicts.worst_case_error, np.isin(verdicts.verdict, STATES)
    if settings.worst_case:
        return _what_worst_case_did(verdicts)
    predicted = float(verdicts.error_probability[given].mean()) if given.any() else float("nan")
    if int((verdicts.verdict != "unscored").sum()) < FEW_PROMPTS or not rests_on_fit(limit, predicted, int(given.sum())):
        return []
    text = (
        f"The predicted error, {100 * predicted:.1f}% of the verdicts, rests on the fit. These completions do not rule out "
        f"{percent(limit)} (97.5% limit), as where many prompts lie right at a threshold; --worst-case samples more there, and leaves the "
        "rest undecided."
    )
    return [Caveat("worst-case-error", text)]


def _what_worst_case_did(verdicts: PromptVerdicts) -> list[Caveat]:
    n_verdicts, n_open = int(np.isin(verdicts.verdict, STATES).sum()), int((verdicts.verdict == "undecided").sum())
    if n_verdicts and not np.isfinite(verdicts.worst_case_error):
        text = (
            "--worst-case needs a limit on the error, which is known for binary and few-valued rewards only: the verdicts are as "
            "without it, at a mean error. Round the reward to few values, or leave the option out."
        )
        return [Caveat("sure-without-limit", text)]
    if n_open > n_verdicts:
        text = (
            f"--worst-case leaves {_counted(n_open, 'prompt')} undecided: in the worst case too many of their verdicts could be wrong. "
            "More completions of each prompt settle them, or a larger --target-error."
        )
        return [Caveat("sure-undecided", text)]
    return []


def _counted(n: int, noun: str) -> str:
    return f"{_several(n, noun)} {'was' if n == 1 else 'were'}"


def _several(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
