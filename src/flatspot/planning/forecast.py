"""Before an RL run: how many groups will carry a signal at each size, which size to take, and what filling a batch costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.planning.summary import BatchCost, Interval, PlanSummary, SizeAdvice, SizeForecast
from flatspot.runs.run import Run, as_run
from flatspot.stats.forecast import fill_batch, forecast_of, recommend_group_size
from flatspot.stats.models.fitted import FittedModel

_SHOWN = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What the planned run is like.

    group_size      completions per prompt; None: as the run was judged for
    share           the share of informative groups to recommend a size for
    batch           informative groups that one training batch needs
    gen_batch       groups that a dynamic sampler draws at a time; None: as many as `batch`
    max_gen_batches how often it may, for one training batch, before it gives up
    """

    group_size: int | None = None
    share: float = 0.5
    batch: int = 32
    gen_batch: int | None = None
    max_gen_batches: int = 10

    def __post_init__(self) -> None:
        for name, least in (("group_size", 2), ("batch", 1), ("gen_batch", 1), ("max_gen_batches", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
        if not 0 < self.share < 1:
            raise SettingsError(f"--share must lie in (0, 1), got {self.share}")


def plan_groups(run: str | Path | Run, settings: PlanSettings) -> PlanSummary:
    """The plan of a judged run folder, without labels.

    Every share is of groups of prompts like those of the run, drawn at random, with 90% limits. Raises `RunFolderError` where the folder
    has not been judged or has no scored row.
    """
    run = as_run(run)
    judged, evidence = run.summary, run.evidence
    if not (evidence.n > 0).any():
        raise RunFolderError(
            f"{run.folder} has no completion with a reward, so there is nothing to plan by. Fix the reward, then diagnose again."
        )
    size, sampled, model = settings.group_size or judged.group_size, judged.generations, run.model
    tokens = sampled.tokens / sampled.total if sampled.tokens else None
    return PlanSummary(
        run=str(run.folder),
        n_prompts=evidence.n_prompts,
        completions_per_prompt=sampled.per_prompt,
        tokens_per_completion=tokens,
        reward_model=model.family,
        group_size=size,
        forecast=_forecast(model, tuple(sorted({*_SHOWN, size}))),
        recommended=_recommended(model, settings.share, tokens),
        batch=_batch(model, size, settings, tokens),
        caveats=judged.caveats,
    )


def _forecast(model: FittedModel, sizes: tuple[int, ...]) -> dict[str, SizeForecast]:
    shares = forecast_of(model, sizes).informative
    return {
        str(k): SizeForecast(share, lo, hi, k / share if share > 0 else None)
        for k, (share, lo, hi) in zip(sizes, np.asarray(shares).tolist(), strict=True)
    }


def _recommended(model: FittedModel, share: float, tokens: float | None) -> SizeAdvice:
    advice = recommend_group_size(model, share)
    cost = None if tokens is None else round(advice.completions * tokens)
    mean, lo, hi = (_finite(value) for value in advice.informative)
    return SizeAdvice(share, advice.reached, advice.group_size, mean, lo, hi, advice.completions, cost)


def _batch(model: FittedModel, size: int, settings: PlanSettings, tokens: float | None) -> BatchCost:
    gen_batch = settings.gen_batch or settings.batch
    need = fill_batch(model, size, settings.batch, groups_per_batch=gen_batch, max_batches=settings.max_gen_batches)
    return BatchCost(
        informative_groups=settings.batch,
        groups=Interval(*map(_finite, need.groups)),
        rollouts=Interval(*map(_finite, need.rollouts)),
        tokens=None if tokens is None else _finite(need.rollouts[0] * tokens),
        gen_batch=gen_batch,
        max_gen_batches=settings.max_gen_batches,
        stall=need.stall,
    )


def _finite(value: float) -> float | None:
    """Infinitely many groups, where none may be mixed, is null as JSON has no infinity."""
    return float(value) if abs(float(value)) < float("inf") else None
