"""Rewards [input, completion] → what the paper's first figure and its percentile show, with intervals."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from flatspot.stats.evidence import reward_std
from flatspot.stats.intervals import clopper_pearson

Floats = NDArray[np.float64]
PERCENTILES = (10, 25, 50)
SMALL = (0.01, 0.02, 0.05)


class Estimate(TypedDict):
    """A number with its 95% interval over inputs."""

    value: float
    low: float
    high: float


class TaskNumbers(TypedDict):
    """One task under one policy.

    inputs       with two scored completions or more; `unscored_inputs` have fewer and are left out
    mean, std    the means over inputs of each input's mean reward and of its std (ddof 1)
    percentiles  of the inputs' stds, by their names: p10, p25, p50
    shares       of inputs whose std is under a limit, by that limit
    """

    inputs: int
    unscored_inputs: int
    completions: int
    unscored_completions: int
    mean: Estimate
    std: Estimate
    percentiles: dict[str, Estimate]
    shares: dict[str, Estimate]


def means_and_stds(rewards: Floats) -> tuple[Floats, Floats]:
    """[input] each input's mean reward and its std with ddof 1; NaN under two scored completions, 0 where all rewards are equal.

    >>> means_and_stds(np.array([[0.0, 1.0], [0.5, 0.5]]))[1].round(4).tolist()
    [0.7071, 0.0]
    """
    scored = np.isfinite(rewards)
    n = scored.sum(axis=1)
    means = np.where(scored, rewards, 0.0).sum(axis=1) / np.maximum(n, 1)
    return np.where(n < 2, np.nan, means), reward_std(rewards)


def task_numbers(rewards: Floats) -> TaskNumbers:
    """The numbers of rewards [input, completion], NaN where one was not scored. Raises ValueError where no input has two."""
    means, stds = means_and_stds(rewards)
    kept = np.isfinite(stds)
    if not kept.any():
        raise ValueError("no input has two scored completions")
    means, stds = means[kept], stds[kept]
    return {
        "inputs": len(stds),
        "unscored_inputs": int((~kept).sum()),
        "completions": rewards.shape[1],
        "unscored_completions": int(np.isnan(rewards).sum()),
        "mean": average(means),
        "std": average(stds),
        "percentiles": {f"p{percent}": percentile(stds, percent) for percent in PERCENTILES},
        "shares": {str(limit): share(int((stds < limit).sum()), len(stds)) for limit in SMALL},
    }


def average(values: Floats, *, resamples: int = 4000) -> Estimate:
    """The mean over inputs, with a bootstrap over them."""
    draws = np.random.default_rng(0).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def percentile(values: Floats, percent: float) -> Estimate:
    """A percentile (linear between the two inputs around it), and the two inputs between which the population's is.

    Their ranks are quantiles of the binomial law: free of any assumption on the distribution. An end beyond the sample is the end of the
    stds' range, 0, below, and the largest value above.

    >>> percentile(np.arange(1.0, 100.0), 50)
    {'value': 50.0, 'low': 40.0, 'high': 60.0}
    """
    ordered, n, share_below = np.sort(values), len(values), percent / 100
    first, last = (int(binom.ppf(level, n, share_below)) for level in (0.025, 0.975))
    low = float(ordered[first - 1]) if first > 0 else 0.0
    return {"value": float(np.quantile(ordered, share_below)), "low": low, "high": float(ordered[min(last, n - 1)])}


def share(hits: int, n: int) -> Estimate:
    """A share of inputs, with the limits of Clopper and Pearson."""
    low, high = clopper_pearson(hits, n)
    return {"value": hits / n, "low": float(low), "high": float(high)}
