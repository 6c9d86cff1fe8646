"""Judge a run: a row per prompt (`core.schema.VERDICTS`) and the summary (`runs.summary`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatspot.runs.clusters import Clusters
from flatspot.runs.fitted import fit_run
from flatspot.runs.summary import (
    Completions,
    Component,
    Counts,
    ErrorCount,
    Fractions,
    Health,
    Mixed,
    RewardStds,
    RewardSummary,
    Share,
    Summary,
    ToTrain,
)
from flatspot.runs.table import RunTable
from flatspot.stats.evidence import Floats
from flatspot.stats.forecast import GROUP_SIZES
from flatspot.stats.intervals import clopper_pearson
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.zones import STATES, achievable
from flatspot.verdicts.caveats import (
    Caveat,
    advantage_matters,
    as_caveat,
    close_call,
    doubtful_error,
    flat_components,
    low_answers,
    set_caveats,
    sign_caveats,
    task_caveats,
    unknown_tops,
)
from flatspot.verdicts.components import FEW, ComponentVerdicts, flattest_component, judge_components, with_components
from flatspot.verdicts.explain import explain_set
from flatspot.verdicts.judge import VERDICTS as VERDICT_NAMES
from flatspot.verdicts.judge import PromptVerdicts, SetJudgment, judge_prompts, judge_set
from flatspot.verdicts.numbers import PromptNumbers, prompt_numbers
from flatspot.verdicts.reward_signs import RewardSigns, reward_signs
from flatspot.verdicts.settings import JudgeSettings
from flatspot.verdicts.table import verdict_table

if TYPE_CHECKING:
    import pyarrow as pa

    from flatspot.core.noise import CalledAgain


@dataclass(frozen=True)
class Judged:
    """A judged run: the table of prompts, the summary without what only the caller has (request, engine, provenance), and the model."""

    verdicts: pa.Table
    summary: Summary
    model: FittedModel


def judge(
    run: RunTable,
    settings: JudgeSettings,
    *,
    range_source: str = "given",
    notes: Sequence[Any] = (),
    weights: Mapping[str, float] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    again: CalledAgain | None = None,
) -> Judged:
    """Judge every prompt of a run and the set.

    notes    caveats the caller already has: sentences, or (code, sentence)
    weights  of the parts in the total, where they are known
    ranges   of the parts that declare one
    again    what calls of the reward with the same completions showed
    """
    evidence = run.evidence
    r_star = achievable(run.answer_reward, evidence.high, settings.top)
    model = fit_run(run, settings.top, settings.zones, (*GROUP_SIZES, settings.group_size))
    if model.family == "binary":
        r_star = np.full(evidence.n_prompts, settings.reward_hi)
    signs, prompts = reward_signs(run, weights, again), judge_prompts(model, settings)
    of_total = judge_set(prompts, model, evidence, run.n_rows, settings, run.answer_reward, signs, run.n_not_drawn)
    components = judge_components(run.components, weights, model, settings, ranges)
    judged = _Parts(
        model=model,
        numbers=prompt_numbers(run, model, r_star, settings.zones),
        prompts=prompts,
        components=components,
        signs=signs,
        judgment=with_components(of_total, components, settings),
    )
    caveats = _caveats(run, settings, judged, range_source, notes)
    table = verdict_table(run, model, prompts, judged.numbers, components)
    return Judged(table, _summary(run, settings, judged, caveats), model)


@dataclass(frozen=True)
class _Parts:
    """What a summary is made of."""

    model: FittedModel
    numbers: PromptNumbers
    prompts: PromptVerdicts
    components: Sequence[ComponentVerdicts]
    signs: RewardSigns
    judgment: SetJudgment


def _caveats(run: RunTable, settings: JudgeSettings, judged: _Parts, range_source: str, notes: Sequence[Any]) -> list[Caveat]:
    """In the order of `CODES`, after those that the caller has."""
    evidence, model, judgment = run.evidence, judged.model, judged.judgment
    return [
        *sign_caveats(judged.signs),
        *flat_components(judged.components),
        *unknown_tops(judged.components),
        *(caveat for caveat in map(as_caveat, notes) if caveat.code != "noisy-reward" or not judged.signs.n_unequal),
        *set_caveats(
            evidence,
            settings,
            range_source=range_source,
            model=model.family,
            verdicts=judged.prompts,
            misfit=model.misfit,
            identical_share=_identical_share(run),
            truncated_share=_mean(run.truncated_share, run.n_rows),
        ),
        *low_answers(evidence, settings, run.answer_reward, judgment),
        *advantage_matters(judged.prompts, judged.numbers, settings),
        *task_caveats(None if run.clusters is None else run.clusters.subset(evidence.n > 0)),
        *doubtful_error(judged.prompts, settings),
        *close_call(judgment, population_of(run.clusters)),
    ]


def _summary(run: RunTable, settings: JudgeSettings, judged: _Parts, caveats: Sequence[Caveat]) -> Summary:
    evidence, model, prompts, zones = run.evidence, judged.model, judged.prompts, settings.zones
    reason, rule = explain_set(judged.judgment, judged.signs, flattest_component(judged.components))
    return Summary(
        verdict=judged.judgment.verdict,
        reason=reason,
        rule=rule,
        n_prompts=evidence.n_prompts,
        counts=_counts(prompts),
        fractions=_fractions(prompts, model),
        reward=_reward(judged.numbers, settings),
        components={part.name: _component(part) for part in judged.components},
        generations=_completions(run),
        predicted_error=_predicted_error(prompts),
        predicted_error_limit=_finite(prompts.worst_case_error),
        proved=None if prompts.proved is None else int(prompts.proved.sum()),
        predicted_error_unproved=None if prompts.proved is None else _predicted_error(prompts, ~prompts.proved),
        epsilon=zones.epsilon,
        group_size=settings.group_size,
        reach_threshold=zones.reach,
        mixed_threshold=zones.mixed_limit(),
        gain_threshold=_finite(zones.gain_limit(model.scale)),
        advantage=settings.advantage,
        scale=_finite(model.scale),
        reward_model=model.family,
        forecast=_forecast(model),
        population=population_of(run.clusters),
        to_train=_to_train(prompts, model, settings.group_size),
        health=_health(run, judged.signs, judged.components),
        caveats=tuple(caveat.text for caveat in caveats),
        caveat_codes=tuple(dict.fromkeys(caveat.code for caveat in caveats if caveat.code)),
    )


def population_of(clusters: Clusters | None) -> str:
    """Which prompts the limits of shares and forecast are for."""
    if clusters is None:
        return "prompts like these"
    return f"prompts of a new {clusters.column}" if clusters.used else f"prompts of the same {clusters.column}"


def _counts(prompts: PromptVerdicts) -> Counts:
    return Counts(**{name: int((prompts.verdict == name).sum()) for name in VERDICT_NAMES})


def _component(part: ComponentVerdicts) -> Component:
    mean, std = _mean(part.evidence.mean), _mean(part.evidence.std)
    return Component(mean, std, part.range, part.weight, part.flat_share, _counts(part.prompts), part.model.family)


def _fractions(prompts: PromptVerdicts, model: FittedModel) -> Fractions:
    """States: the share of the set that is in each, under the model. Undecided and unscored: the share so labeled."""
    states = {name: share_of(row) for name, row in zip(STATES, model.shares, strict=True)}
    n = len(prompts.verdict)
    return Fractions(**states, **{name: labeled_share(int((prompts.verdict == name).sum()), n) for name in ("undecided", "unscored")})


def labeled_share(hits: int, n: int) -> Share:
    """The share of n prompts that got a label, with its 95% limits."""
    lo, hi = clopper_pearson(hits, n)
    return share_of([hits / n if n else np.nan, float(lo), float(hi)])


def share_of(row: Iterable[float]) -> Share:
    """(mean, lo, hi) as a share."""
    return Share(*map(_finite, row))


def _forecast(model: FittedModel) -> dict[str, Mixed]:
    rows = zip(GROUP_SIZES, model.forecast(GROUP_SIZES).tolist(), strict=True)
    return {str(k): Mixed(*map(_finite, row)) for k, row in rows}


def _reward(numbers: PromptNumbers, settings: JudgeSettings) -> RewardSummary:
    std = numbers.std[np.isfinite(numbers.std)]
    stds = RewardStds()
    if len(std):
        p10, p50, p90 = np.percentile(std, [10, 50, 90]).tolist()
        below_1, below_2, below_5 = (float((std < limit).mean()) for limit in (0.01, 0.02, 0.05))
        stds = RewardStds(p10, p50, p90, _mean(numbers.std), below_1, below_2, below_5)
    return RewardSummary((settings.reward_lo, settings.reward_hi), settings.stated, _mean(numbers.mean), stds)


def _completions(run: RunTable) -> Completions:
    total = int(run.n_rows.sum())
    tokens = np.nansum(run.mean_tokens * run.n_rows) if np.isfinite(run.mean_tokens).any() else np.nan
    return Completions(total, total / len(run.n_rows) if len(run.n_rows) else 0.0, int(tokens) if np.isfinite(tokens) else None)


def _predicted_error(prompts: PromptVerdicts, among: NDArray[np.bool_] | None = None) -> float | None:
    decided = np.isin(prompts.verdict, STATES) & (True if among is None else among)
    return float(prompts.error_probability[decided].mean()) if decided.any() else None


def _to_train(prompts: PromptVerdicts, model: FittedModel, group_size: int) -> ToTrain:
    """The learnable and undecided prompts: how many, and the share of their groups of the planned size expected to be mixed."""
    trained = np.isin(prompts.verdict, ("learnable", "undecided"))
    return ToTrain(int(trained.sum()), _mean(model.mixed(group_size)[trained]))


def _health(run: RunTable, signs: RewardSigns, components: Sequence[ComponentVerdicts]) -> Health:
    total, scored = int(run.n_rows.sum()), int(run.evidence.n.sum())
    flat = flattest_component(components)
    return Health(
        distinct_share=_mean(run.distinct_share),
        truncated_share=_mean(run.truncated_share, run.n_rows),
        error_share=1 - scored / total if total else None,
        noise_share=_finite(signs.noise_share),
        flat_reward=flat.name if flat is not None and flat.flat_share > FEW else None,
        errors=tuple(ErrorCount(message, n) for message, n in run.errors),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _identical_share(run: RunTable) -> float | None:
    """Share of the prompts whose completions are all one text; None where the log has no completions."""
    several = np.isfinite(run.distinct_share) & (run.n_rows > 1)
    return float((run.distinct_share[several] * run.n_rows[several] < 1.5).mean()) if several.any() else None


def _mean(values: Floats, weights: Any = None) -> float | None:
    usable = np.isfinite(values) & (True if weights is None else weights > 0)
    if not usable.any():
        return None
    return float(np.average(values[usable], weights=None if weights is None else weights[usable]))
