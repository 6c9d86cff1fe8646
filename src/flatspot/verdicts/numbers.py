"""What a prompt's completions say of one group of the planned size: the numbers of verdicts.parquet beside mean and std."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.runs.table import RunTable
from flatspot.stats.best import best_of_k
from flatspot.stats.evidence import Floats
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.limits import Limits
from flatspot.stats.zones import Zones


@dataclass(frozen=True)
class PromptNumbers:
    """Of M prompts, for groups of K = `group_size`.

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
    p_mixed, gain = model.mixed(k), model.best_of(k)
    unbiased = np.where(run.fair, best_of_k(evidence, k), np.nan)
    top = zones.hi if zones.stated else np.inf  # the model's gain is of a mean that lies nearer to the set's
    headroom = np.where(evidence.n > 0, r_star - evidence.mean, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(evidence.std > 0, headroom / evidence.std, np.nan)
    return PromptNumbers(
        group_size=k,
        p_mixed=p_mixed,
        gain=gain,
        best_of_k=np.where(np.isfinite(unbiased), unbiased, np.minimum(evidence.mean + gain, top)),
        relative_gain=_relative(gain),
        r_star=np.where(evidence.n > 0, r_star, np.nan),
        headroom=headroom,
        reach=reach,
        relative_std=_relative(evidence.std),
        limits=model.limits,
        mixed_decides=np.asarray((p_mixed <= zones.mixed_limit()) | (gain >= zones.gain_limit(model.scale))),
    )


def _relative(values: Floats) -> Floats:
    """Over the root mean square of the set; NaN where that is 0."""
    size = np.sqrt(np.nanmean(values**2)) if np.isfinite(values).any() else np.nan
    return values / size if size > 0 else np.full_like(values, np.nan)
