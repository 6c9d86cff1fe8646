"""The reward of a training as it went on: means of the completions drawn, by update, with limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import betaincinv, stdtrit

from flatspot.core.errors import RunFolderError
from flatspot.rollouts.tables import parquet_source
from flatspot.runs.run import Run, as_run
from flatspot.runs.table import connect, rollout_files
from flatspot.stats.evidence import EQUAL_REWARDS, Floats, Ints

POINTS = 24  # of a curve, at most
_FEWEST = 8  # groups in a point of their own curve, whose limits show the noise
GROUPS = 32  # of completions in a point, at least, where there are so many: fewer show noise


@dataclass(frozen=True)
class RewardCurve:
    """One entry per point: the last update in it, completions drawn until then, mean reward of its completions, 95% limits."""

    step: Ints
    generations: Ints
    mean: Floats
    lo: Floats
    hi: Floats


def reward_by_step(run: str | Path | Run, reward_range: tuple[float, float], *, points: int = POINTS) -> RewardCurve:
    """The rewards of a watched training, evaluations left out.

    At most `points` points, of equally many updates, and of `GROUPS` groups at least where that leaves two.
    """
    import duckdb

    run = as_run(run)
    files = rollout_files(run.folder)
    if not files:
        raise RunFolderError(f"{run.folder} holds no rows of a training.")
    try:
        with connect() as db:
            groups = db.execute(
                f"""SELECT step, prompt_id, avg(reward) FILTER (isfinite(reward)) AS mean, count(*) AS n FROM {parquet_source(db, files)}
                    WHERE step IS NOT NULL AND split IS DISTINCT FROM 'eval' GROUP BY step, prompt_id ORDER BY step, prompt_id"""
            ).fetchnumpy()
    except duckdb.Error as error:
        raise RunFolderError(f"{run.folder}: its rows cannot be read ({str(error).splitlines()[0]}).") from error
    return curve_of(groups["step"].astype(np.int64), np.ma.filled(groups["mean"].astype(float), np.nan), groups["n"], reward_range, points)


@dataclass(frozen=True)
class GroupCurve:
    """The groups of a training by step: one entry per point, each of equally many steps.

    step    the last step of the point
    groups  with two rewards or more
    flat    share of them whose rewards are equal, with 95% limits
    std     mean std of the rewards within a group (ddof 1)
    """

    step: Ints
    groups: Ints
    flat: Floats
    lo: Floats
    hi: Floats
    std: Floats


def groups_by_step(run: str | Path | Run, *, points: int = POINTS) -> GroupCurve | None:
    """How the groups of a training went on, evaluations left out; None where the rows say of fewer than two steps."""
    import duckdb

    run = as_run(run)
    files = rollout_files(run.folder)
    if not files:
        return None
    try:
        with connect() as db:
            groups = db.execute(
                f"""SELECT step, CAST({EQUAL_REWARDS} AS INT) AS flat, stddev_samp(reward) AS std FROM {parquet_source(db, files)}
                    WHERE step IS NOT NULL AND isfinite(reward) AND split IS DISTINCT FROM 'eval'
                    GROUP BY step, hash(prompt_id) HAVING count(*) > 1 ORDER BY step"""
            ).fetchnumpy()
    except duckdb.Error as error:
        raise RunFolderError(f"{run.folder}: its rows cannot be read ({str(error).splitlines()[0]}).") from error
    step, flat, std = (np.ma.filled(groups[name].astype(float), np.nan) for name in ("step", "flat", "std"))
    updates = np.unique(step)
    if len(updates) < 2:
        return None
    rows = []
    most = min(points, len(updates), max(2, len(step) // _FEWEST))
    size = -(-len(updates) // most)  # steps of a point
    for part in np.split(updates, range(size, len(updates), size)):
        inside = (step >= part[0]) & (step <= part[-1])
        n, k = int(inside.sum()), int(flat[inside].sum())
        rows.append((int(part[-1]), n, k / n, *beta_limits(k, n), float(std[inside].mean())))
    columns = list(zip(*rows, strict=True))
    return GroupCurve(np.array(columns[0], np.int64), np.array(columns[1], np.int64), *(np.array(c, float) for c in columns[2:]))


def beta_limits(k: int, n: int) -> tuple[float, float]:
    """Exact 95% limits of a share of which k of n were seen (Clopper and Pearson).

    >>> [round(x, 3) for x in beta_limits(0, 10)], [round(x, 3) for x in beta_limits(5, 10)]
    ([0.0, 0.308], [0.187, 0.813])
    """
    return (float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0), (float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0)


def curve_of(step: Ints, mean: Floats, n: Ints, reward_range: tuple[float, float], points: int = POINTS) -> RewardCurve:
    """A curve from groups: the update, mean reward (NaN: not scored) and completions of each, in the order of the updates.

    >>> found = curve_of(np.array([0, 0, 1, 1]), np.array([0.0, 0.5, 1.0, 1.0]), np.array([8, 8, 8, 8]), (0.0, 1.0))
    >>> found.generations.tolist(), found.mean.tolist()
    ([16, 32], [0.25, 1.0])
    """
    updates = np.unique(step)
    parts = np.array_split(updates, min(points, len(updates), max(2, len(step) // GROUPS))) if len(updates) else []
    rows = []
    for part in parts:
        inside = (step >= part[0]) & (step <= part[-1])
        rows.append((int(part[-1]), int(n[step <= part[-1]].sum()), *mean_limits(mean[inside], reward_range)))
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return RewardCurve(np.array(columns[0], np.int64), np.array(columns[1], np.int64), *(np.array(c, float) for c in columns[2:]))


def mean_limits(values: Floats, reward_range: tuple[float, float]) -> tuple[float, float, float]:
    """Mean of values within a range, with 95% limits (Student's t) that do not close on equal values: NaN are left out.

    A quarter of a pseudo-value at each end of the range is counted into the variance.

    >>> [round(x, 3) for x in mean_limits(np.zeros(50), (0.0, 1.0))]
    [0.0, 0.0, 0.02]
    """
    values = values[np.isfinite(values)]
    lo, hi = reward_range
    if not len(values):
        return float("nan"), lo, hi
    mean = float(values.mean())
    spread = ((values - mean) ** 2).sum() + 0.25 * ((lo - mean) ** 2 + (hi - mean) ** 2)
    weight = len(values) + 0.5
    half = float(stdtrit(max(len(values) - 1, 1), 0.975)) * float(np.sqrt(spread / max(weight - 1, 0.5) / weight))
    return mean, max(lo, mean - half), min(hi, mean + half)
