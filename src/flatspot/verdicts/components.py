"""Each of several rewards, judged by itself: what RL learns may come from the format while the goal stays flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
    range       (least, most) it can give, as declared, or [0, 1] where its values reach both of these; None where that is not known
    at_most     prompts on which it always gave the most that was seen of it, where it is not known whether that is its top
    """

    name: str
    weight: float
    evidence: Evidence
    model: FittedModel
    prompts: PromptVerdicts
    flat_share: float
    range: tuple[float, float] | None
    at_most: int


def judge_components(
    parts: Mapping[str, Evidence],
    weights: Mapping[str, float] | None,
    total: FittedModel,
    settings: JudgeSettings,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[ComponentVerdicts, ...]:
    """Judge each reward as if it were the only one, in the range it declares, else in what was seen of it, which bounds nothing.

    total   the model of the weighted total
    ranges  of those that declare one, by name
    """
    return tuple(
        _judge_component(name, evidence, (weights or {}).get(name, 1.0), total, settings, (ranges or {}).get(name))
        for name, evidence in parts.items()
    )


def _judge_component(
    name: str, evidence: Evidence, weight: float, total: FittedModel, settings: JudgeSettings, declared: tuple[float, float] | None
) -> ComponentVerdicts:
    seen = evidence.tally.reward
    least, most = (float(seen.min()), float(seen.max())) if len(seen) else (np.nan, np.nan)
    lo, hi = declared or range_seen(least, most)
    known = declared is not None or (least, most) == (0.0, 1.0)
    own = replace(settings, reward_lo=lo, reward_hi=hi, stated=known, top_reachable=False)
    zones = own.zones
    if not known and (lo, hi) == (0.0, 1.0):  # gains are measured against [0, 1], as those of a total, though 1 may not be the top
        zones = replace(zones, typical=1.0)
    model = fit(evidence, np.full(evidence.n_prompts, np.nan), zones)
    at_most = np.zeros(evidence.n_prompts, bool) if known or model.family == "binary" else evidence.low >= hi
    flat = _flat_share(model.states, total.states, ~at_most)
    return ComponentVerdicts(
        name, weight, evidence, model, judge_prompts(model, own), flat, (lo, hi) if known else None, int(at_most.sum())
    )


def _flat_share(part: Floats, total: Floats, of: NDArray[np.bool_]) -> float:
    """The mean of P(the part vanishes) · P(the total is learnable), over the prompts on which both have a reward; 0 where none has.

    of  [M] the prompts on which the part is flat if it vanishes; on the others it counts as if it did not
    """
    both = part[:, _VANISHING] * total[:, _LEARNABLE] * of
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
