"""Measured gradients of a set of prompts in a few numbers: how std and norm go together, and how tight the bounds are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Floats


@dataclass(frozen=True)
class StdAgainstNorm:
    """How gradient norms go with reward stds over prompts; NaN where too few prompts differ.

    rank_correlation  Spearman's, of std with the unbiased squared norm: over all prompts, those with std 0 or a negative square included
    n_positive        prompts whose std and squared norm are both above 0; only these have logarithms
    correlation       Pearson's, of log std with log norm, over these
    slope             of log norm on log std by least squares, over these
    """

    rank_correlation: float
    n_positive: int
    correlation: float
    slope: float


def std_against_norm(std: Floats, norm_sq: Floats) -> StdAgainstNorm:
    """Correlations of stds with squared gradient norms, one pair per prompt; three prompts that differ are the fewest.

    The logarithmic numbers leave out prompts whose estimated square is not above 0, small norms most of all: read them with n_positive.

    >>> found = std_against_norm(np.array([0.1, 0.2, 0.4, 0.0]), np.array([0.01, 0.04, 0.16, -0.001]))
    >>> round(found.rank_correlation, 6), found.n_positive, round(found.slope, 6)
    (1.0, 3, 1.0)
    """
    from scipy.stats import rankdata

    finite = np.isfinite(std) & np.isfinite(norm_sq)
    std, norm_sq = std[finite], norm_sq[finite]
    above = (std > 0) & (norm_sq > 0)
    x, y = np.log(std[above]), np.log(norm_sq[above]) / 2
    slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1)) if len(x) > 2 and np.ptp(x) > 0 else float("nan")
    return StdAgainstNorm(_correlation(rankdata(std), rankdata(norm_sq)), int(above.sum()), _correlation(x, y), slope)


def tightness(norm: Floats, bounds: Mapping[str, Floats]) -> dict[str, float]:
    """How many times the norm each bound is, in the median over the prompts with a norm above 0; NaN where there is none.

    >>> tightness(np.array([1.0, 2.0, 0.0]), {"score": np.array([3.0, 4.0, 5.0])})
    {'score': 2.5}
    """
    medians = {}
    for name, bound in bounds.items():
        used = np.isfinite(bound) & (norm > 0)
        medians[name] = float(np.median(bound[used] / norm[used])) if used.any() else float("nan")
    return medians


def _correlation(x: Floats, y: Floats) -> float:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
