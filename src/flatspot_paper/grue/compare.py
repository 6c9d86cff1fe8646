"""What finetuning changed: each task's arms input by input, and the stds before it against the gap between SFT and RL across tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from scipy.stats import pearsonr, spearmanr

from flatspot_paper.grue.numbers import Estimate, Floats, average

RESAMPLES = 2000
SMALL_STD = 0.05  # under it an input counts as one of small std


class ArmComparison(TypedDict):
    """One arm against the policy before finetuning.

    reward        mean over inputs after it
    change        its difference to that before, where both samples before are taken together
    correlation   Pearson's of the std before with each input's change, as in the paper: both from the same completions before
    correlation_apart  the same, the change measured from other completions before: free of their common noise
    None where the stds or the changes are all alike
    """

    reward: Estimate
    change: Estimate
    correlation: Estimate | None
    correlation_apart: Estimate | None


class TaskComparison(TypedDict):
    """One task.

    inputs       that have numbers in every arm
    before       mean reward before finetuning; `untrained` is the correlation of the std with what changes without any training
    tenth        the 10th percentile of the std before; `small` the share of inputs with an std under 0.05
    arms         by name
    gaps         mean reward of SFT minus that of RL alone, by RL's algorithm
    kept         mean reward of RL after the warm-up as a share of that after full SFT, by RL's algorithm
    """

    inputs: int
    before: Estimate
    untrained: Estimate | None
    tenth: Estimate
    small: Estimate
    arms: dict[str, ArmComparison]
    gaps: dict[str, Estimate]
    kept: dict[str, Estimate]


class Across(TypedDict):
    """Spearman's correlation over tasks of the gap with the 10th percentile of the std, and with the share of small stds.

    Intervals are of resampled inputs within each task; the tasks stay. None with fewer than three tasks.
    """

    tasks: list[str]
    tenth: Estimate | None
    small: Estimate | None


def compare(inputs: Mapping[str, Any]) -> TaskComparison:
    """The comparison of a task's tables of inputs: "pretrained", "again" and the arms."""
    means, stds = _aligned(inputs)
    std = stds["pretrained"]
    first, other = means["pretrained"], means["again"]
    draws = _draws(len(std))
    arms: dict[str, ArmComparison] = {}
    for name, after in means.items():
        if name not in ("pretrained", "again"):
            arms[name] = {
                "reward": average(after),
                "change": average(after - (first + other) / 2),
                "correlation": correlation(std, after - first, draws),
                "correlation_apart": correlation(std, after - other, draws),
            }
    gaps = {name[4:]: average(means["sft"] - means[name]) for name in arms if name.startswith("rft-") and "sft" in means}
    both = {name[11:]: (means[name], means[f"sft+{name[7:]}"]) for name in arms if name[:7] == "warmup+" and f"sft+{name[7:]}" in means}
    kept = {algorithm: share for algorithm, pair in both.items() if (share := _ratio(*pair, draws)) is not None}
    return {
        "inputs": len(std),
        "before": average(first),
        "untrained": correlation(std, other - first, draws),
        "tenth": _of(lambda rows: float(np.quantile(std[rows], 0.1)), draws),
        "small": _of(lambda rows: float((std[rows] < SMALL_STD).mean()), draws),
        "arms": arms,
        "gaps": gaps,
        "kept": kept,
    }


def across(tables: Mapping[tuple[str, int], Mapping[str, Any]], algorithm: str) -> Across:
    """What holds over the tasks that have both arms; the seeds of a task are averaged input by input."""
    columns: dict[str, list[tuple[Floats, Floats]]] = {}
    for (task, _), inputs in tables.items():
        if {"sft", f"rft-{algorithm}"} <= set(inputs):
            means, stds = _aligned(inputs)
            columns.setdefault(task, []).append((stds["pretrained"], means["sft"] - means[f"rft-{algorithm}"]))
    tasks = {task: tuple(np.mean([one[i] for one in seeds], axis=0) for i in (0, 1)) for task, seeds in columns.items()}
    if len(tasks) < 3:
        return {"tasks": list(tasks), "tenth": None, "small": None}
    chance = np.random.default_rng(0)
    found = []
    for resample in range(RESAMPLES + 1):
        points = []
        for std, gap in tasks.values():
            rows = chance.integers(0, len(std), len(std)) if resample else np.arange(len(std))
            points.append((np.quantile(std[rows], 0.1), (std[rows] < SMALL_STD).mean(), gap[rows].mean()))
        tenths, shares, differences = np.array(points).T
        found.append((_spearman(tenths, differences), _spearman(shares, differences)))
    return {"tasks": list(tasks), "tenth": _interval([one[0] for one in found]), "small": _interval([one[1] for one in found])}


def correlation(x: Floats, y: Floats, draws: Any) -> Estimate | None:
    """Pearson's correlation over inputs with a bootstrap over them; None where a side is constant."""
    return _interval([_pearson(x, y), *(_pearson(x[rows], y[rows]) for rows in draws)])


def _ratio(x: Floats, y: Floats, draws: Any) -> Estimate | None:
    """Of the means, with a bootstrap over inputs; None where that of y is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval([float(x.mean() / y.mean()), *(x[draws].mean(1) / y[draws].mean(1)).tolist()])


def _pearson(x: Floats, y: Floats) -> float:
    return float(pearsonr(x, y)[0]) if np.ptp(x) > 1e-12 and np.ptp(y) > 1e-12 else float("nan")


def _spearman(x: Floats, y: Floats) -> float:
    return float(spearmanr(x, y)[0]) if np.ptp(x) > 1e-12 and np.ptp(y) > 1e-12 else float("nan")


def _of(statistic: Any, draws: Any) -> Estimate:
    low, high = np.quantile([statistic(rows) for rows in draws], [0.025, 0.975])
    return {"value": statistic(np.arange(draws.shape[1])), "low": float(low), "high": float(high)}


def _interval(values: list[float]) -> Estimate | None:
    """The first value, and the central 95% of the others that are finite; None where the first is not."""
    if not np.isfinite(values[0]):
        return None
    rest = np.array(values[1:])
    low, high = np.quantile(rest[np.isfinite(rest)], [0.025, 0.975]) if np.isfinite(rest).any() else (np.nan, np.nan)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def _draws(n: int) -> Any:
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))


def _aligned(inputs: Mapping[str, Any]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Means and stds of the inputs that have both in every table, in the order of the first."""
    rows = {
        name: {key: (m, s) for key, m, s in zip(*(table[c].to_pylist() for c in ("input", "mean", "std")), strict=True)}
        for name, table in inputs.items()
    }
    kept = [key for key in rows["pretrained"] if all(key in own and np.isfinite(own[key]).all() for own in rows.values())]
    means = {name: np.array([own[key][0] for key in kept]) for name, own in rows.items()}
    return means, {name: np.array([own[key][1] for key in kept]) for name, own in rows.items()}
