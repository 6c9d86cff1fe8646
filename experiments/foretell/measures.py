"""What is computed of a setting: candidates, moves, rank correlation and AUC. Arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CANDIDATES = ("std", "relative_std", "p_mixed", "gap", "gain", "relative_gain", "gain_over_headroom")
ERRORS = 2.0  # a prompt moved where its reward changed by more than so many standard errors


@dataclass(frozen=True)
class Sample:
    """n completions of each prompt: mean reward [M], std [M] with ddof 1."""

    mean: Floats
    std: Floats
    n: int

    def of(self, rows: NDArray[np.int64]) -> Sample:
        """The sample of some of the prompts."""
        return Sample(self.mean[rows], self.std[rows], self.n)


def change(before: Sample, after: Sample) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """[M] each: the change of the mean, its standard error, and whether it moved: 1 up, -1 down, 0 by no more than noise.

    The standard error is √(s²/n + s'²/n'); two samples without any spread differ by 0 errors or by infinitely many.

    >>> sample = Sample(np.array([0.5, 0.0]), np.array([0.5, 0.0]), 50)
    >>> [part.round(3).tolist() for part in change(sample, Sample(np.array([0.75, 0.1]), np.array([0.5, 0.3]), 50))]
    [[0.25, 0.1], [0.1, 0.042], [1, 1]]
    """
    difference = after.mean - before.mean
    error = np.sqrt(before.std**2 / before.n + after.std**2 / after.n)
    return difference, error, np.where(np.abs(difference) > ERRORS * error + 1e-12, np.sign(difference), 0).astype(np.int64)


def candidates(columns: Mapping[str, Floats], top: float) -> dict[str, Floats]:
    """What may foretell, by name, [M] each.

    columns  of verdicts.parquet; NaN where a quantity does not exist: 0 then, but for the headroom
    top      of the range of the reward

    gap is r* - mean, with the top of the range where r* is not known; gain over headroom is 0 where nothing is left.
    """
    known = np.where(np.isfinite(columns["r_star"]), columns["r_star"], top)
    gap = known - columns["mean"]
    plain = {name: np.nan_to_num(columns[name]) for name in ("std", "relative_std", "p_mixed", "gain", "relative_gain")}
    share = np.divide(plain["gain"], gap, out=np.zeros_like(gap), where=gap > 1e-9)
    every = plain | {"gap": gap, "gain_over_headroom": share}
    return {name: np.round(every[name], 9) for name in CANDIDATES}  # equal prompts differ in the last bits of a fit


def ranks(values: Floats) -> Floats:
    """[M] ranks from 1; equal values share the mean of theirs.

    >>> ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    below = (values[:, None] > values[None, :]).sum(axis=1)
    return np.asarray(below + ((values[:, None] == values[None, :]).sum(axis=1) + 1) / 2)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's: the correlation of the ranks; NaN where either is constant."""
    x, y = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def auc(score: Floats, moved: NDArray[np.bool_]) -> float:
    """P(a prompt that moved has the higher score) + P(equal)/2; NaN where all did or none.

    >>> auc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    n, m = int(moved.sum()), int((~moved).sum())
    return float((ranks(score)[moved].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    """Share of `hits` among some; NaN where there are none."""
    return float(hits[among].mean()) if among.any() else float("nan")
