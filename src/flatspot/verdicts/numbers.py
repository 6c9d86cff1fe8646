"""What a prompt's completions say of one group of the planned size: the numbers of verdicts.parquet beside mean and std."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.runs.table import RunTable
from flatspot.stats.best import best_of_k
from flatspot.stats.completed import completed
from flatspot.stats.evidence import Floats
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.limits import Limits, mapped_limits, mapped_std
from flatspot.stats.models.proved import ProvedModel
from flatspot.stats.zones import Zones

_MOSTLY_UNSEEN = 0.5  # known mass: below it limits that hold at any time are wider than those of the fit


@dataclass(frozen=True)
class PromptNumbers:
    """Of M prompts, for groups of K = `group_size`.

    mean           [M] of the reward: of its completions, or where their probabilities are known and all have a reward, `stats.completed`
    std            [M] likewise; NaN under two completions
    std_limits     [M, 2] 95%
    p_mixed        [M] probability that a group is mixed
    gain           [M] gain of the best of K, under the fitted model
    best_of_k      [M] E[max of K]: unbiased from the completions where no reward decided how many there are, else mean + gain; never above
                   the top of a stated range
    relative_gain  [M] gain over the set's root mean square
    r_star         [M] what is achievable; NaN where that is not known
    headroom       [M] r_star - mean
    reach          [M] headroom in standard deviations; NaN at std 0
    relative_std   [M] std over the set's root mean square
    limits         95% limits of mean, p_mixed and gain
    mixed_decides  [M] whether too few mixed groups are what a signal lacks; else it is the gain
    """

    group_size: int
    mean: Floats
    std: Floats
    std_limits: Floats
    p_mixed: Floats
    gain: Floats
    best_of_k: Floats
    relative_gain: Floats
    r_star: Floats
    headroom: Floats
    reach: Floats
    relative_std: Floats
    limits: Limits
    mixed_decides: NDArray[np.bool_]


def prompt_numbers(run: RunTable, model: FittedModel, r_star: Floats, zones: Zones) -> PromptNumbers:
    """Of the prompts of a run."""
    evidence, k = run.evidence, zones.group_size
    mean, std, std_limits, limits = _spread(run, model, zones)
    p_mixed, gain = model.mixed(k), model.best_of(k)
    unbiased = np.where(run.fair, best_of_k(evidence, k), np.nan)
    top = zones.hi if zones.stated else np.inf  # the model's gain is of a mean that lies nearer to the set's
    headroom = np.where(evidence.n > 0, r_star - mean, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(std > 0, headroom / std, np.nan)
    return PromptNumbers(
        group_size=k,
        mean=mean,
        std=std,
        std_limits=std_limits,
        p_mixed=p_mixed,
        gain=gain,
        best_of_k=np.where(np.isfinite(unbiased), unbiased, np.minimum(mean + gain, top)),
        relative_gain=_relative(gain),
        r_star=np.where(evidence.n > 0, r_star, np.nan),
        headroom=headroom,
        reach=reach,
        relative_std=_relative(std),
        limits=limits,
        mixed_decides=np.asarray((p_mixed <= zones.mixed_limit()) | (gain >= zones.gain_limit(model.scale))),
    )


def _spread(run: RunTable, model: FittedModel, zones: Zones) -> tuple[Floats, Floats, Floats, Limits]:
    """(mean, std, limits of the std, limits of mean, mixed groups and gain): from the rewards, or where they are known, from new draws too.

    What is proved holds in any case. Limits for new draws hold at any time, also where the rewards decided how many completions there are;
    where nothing of that kind happened and most of the mass is unseen, those of the fit are closer.
    """
    evidence, limits, std_limits = run.evidence, model.limits, model.std_limits
    done = completed(model.proof.known, zones.lo, zones.hi) if isinstance(model, ProvedModel) else None
    if done is None or not isinstance(model, ProvedModel):
        return evidence.mean, evidence.std, std_limits, limits
    known, bounds = np.isfinite(done.mean), model.proof.bounds(zones.group_size)
    of_all = known & ~_failed(run)
    mean = np.where(of_all, done.mean, _held(evidence.mean[:, None], bounds.mean, known)[:, 0])
    std = np.where(of_all & (evidence.n > 1), done.std, _held(evidence.std[:, None], bounds.std, known)[:, 0])
    of_new = of_all & ~(run.fair & (model.proof.known.total < _MOSTLY_UNSEEN))
    of_mean = np.where(of_new[:, None], done.mean_limits, limits.mean)
    if model.family == "binary":
        lo, hi = (np.clip(of_mean, *bounds.mean.T[..., None]).T - zones.lo) / zones.span
        lo, hi = (np.where(known, np.clip(at, 0.0, 1.0), 0.5) for at in (lo, hi))  # rounding leaves them a little outside
        mapped, stds = mapped_limits(lo, hi, zones.lo, zones.hi, zones.group_size), mapped_std(lo, hi, zones.lo, zones.hi)
        limits = Limits(
            of_mean, *(np.where(of_new[:, None], ours, fit) for ours, fit in ((mapped.mixed, limits.mixed), (mapped.gain, limits.gain)))
        )
        std_limits = np.where(of_new[:, None], stds, std_limits)
    held = Limits(
        *(_limits_held(fit, to, known) for fit, to in ((of_mean, bounds.mean), (limits.mixed, bounds.mixed), (limits.gain, bounds.gain)))
    )
    std_limits = _limits_held(std_limits, bounds.std, known)
    return mean, std, np.stack([np.fmin(std_limits[:, 0], std), np.fmax(std_limits[:, 1], std)], -1), held


def _failed(run: RunTable) -> NDArray[np.bool_]:
    """[M] whether completions were drawn that have no reward: new draws then say something of what is left, and nothing of these."""
    return np.asarray(run.n_rows > run.evidence.n + (0 if run.n_not_drawn is None else run.n_not_drawn))


def _held(values: Floats, to: Floats, known: NDArray[np.bool_]) -> Floats:
    """[M, …] the values within what is proved, where something is known."""
    return np.where(known[:, None], np.clip(values, to[:, :1], to[:, 1:]), values)


def _limits_held(limits: Floats, to: Floats, known: NDArray[np.bool_]) -> Floats:
    """[M, 2] likewise; of limits wholly outside of it, which were wrong, nothing is left but what is proved."""
    apart = (limits[:, :1] > to[:, 1:]) | (limits[:, 1:] < to[:, :1])
    return np.where(apart & known[:, None], to, _held(limits, to, known))


def _relative(values: Floats) -> Floats:
    """Over the root mean square of the set; NaN where that is 0."""
    size = np.sqrt(np.nanmean(values**2)) if np.isfinite(values).any() else np.nan
    return values / size if size > 0 else np.full_like(values, np.nan)
