"""Each of several rewards, judged by itself: what RL learns may come from the format while the goal stays flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.models.fitted import FittedModel, fit
from flatspot.stats.zones import STATES, range_seen
from flatspot.verdicts.judge import PromptVerdicts, SetJudgment, judge_prompts, judge_shares
from flatspot.verdicts.settings import JudgeSettings

FEW = 0.05  # of the prompts: a share of flat ones up to here is not worth a word
_VANISHING, _LEARNABLE = STATES.index("vanishing"), STATES.index("learnable")


@dataclass(frozen=True)
class ComponentVerdicts:
    """One reward of several, by its own values before the weight.

    weight      in the total; 1 where it is not known
    flat_share  expected share of the prompts on which it vanishes and the total has a signal all the same: there RL learns from the others
    """

    name: str
    weight: float
    evidence: Evidence
    model: FittedModel
    prompts: PromptVerdicts
    flat_share: float


def judge_components(
    parts: Mapping[str, Evidence], weights: Mapping[str, float] | None, total: FittedModel, settings: JudgeSettings
) -> tuple[ComponentVerdicts, ...]:
    """Judge each reward as if it were the only one, in [0, 1] where all of its values lie in it, else in their range.

    total  the model of the weighted total
    """
    judged = []
    for name, evidence in parts.items():
        seen = evidence.tally.reward
        lo, hi = range_seen(*((float(seen.min()), float(seen.max())) if len(seen) else (np.nan, np.nan)))
        own = replace(settings, reward_lo=lo, reward_hi=hi, stated=(lo, hi) == (0.0, 1.0), top_reachable=False)
        model = fit(evidence, np.full(evidence.n_prompts, np.nan), own.zones)
        flat = _flat_share(model.states, total.states)
        judged.append(ComponentVerdicts(name, (weights or {}).get(name, 1.0), evidence, model, judge_prompts(model, own), flat))
    return tuple(judged)


def _flat_share(part: Floats, total: Floats) -> float:
    """The mean of P(the part vanishes) · P(the total is learnable), over the prompts on which both have a reward; 0 where none has."""
    both = part[:, _VANISHING] * total[:, _LEARNABLE]
    both = both[np.isfinite(both)]
    return float(both.mean()) if len(both) else 0.0


def flattest_component(components: Sequence[ComponentVerdicts]) -> ComponentVerdicts | None:
    """The reward with a weight above 0 that vanishes most often where the total varies; None where there are none."""
    return max((part for part in components if part.weight > 0), key=lambda part: part.flat_share, default=None)


def _main(components: Sequence[ComponentVerdicts]) -> ComponentVerdicts | None:
    """The reward that is worth most; of several with one weight, the one that is flat most often. None where there is one at most."""
    weighed = [part for part in components if part.weight]
    goals = [part for part in weighed if part.weight > 0]  # of a penalty, 0 is the best there is
    return max(goals, key=lambda part: (part.weight, part.flat_share)) if goals and len(weighed) > 1 else None


def with_components(judgment: SetJudgment, components: Sequence[ComponentVerdicts], settings: JudgeSettings) -> SetJudgment:
    """The judgment of the total; where that is to proceed and the main reward is flat too often, what this reward would get alone."""
    main = _main(components)
    if main is None or judgment.rule != "none" or main.flat_share <= settings.warm_up_above:
        return judgment
    alone = judge_shares(main.prompts, main.model, main.evidence, settings)
    if alone.rule == "none":
        return judgment
    return SetJudgment(alone.verdict, "flat-component", main.flat_share, settings.warm_up_above, alone.lo, alone.hi, component=main.name)
