"""Rewards with many values: moderated variance, and two parts where many samples tie.

Smooth prompts (no two samples equal): the variance of each is shrunk towards the set's, sigma2_post = (d0 s0^2 + d s^2) / (d0 + d),
d = n - 1, with (d0, s0^2) fitted to the log variances of the set (limma's moments); sigma^2 ~ (d0 + d) sigma2_post / chi2(d0 + d) and
the mean is normal given sigma. Tied prompts (many equal lows and a continuous rest, or all equal): with probability 1 - q the reward
is the mode, else it is continuous with mean m and variance v, so sigma^2 = q v + q (1 - q) (m - mode)^2.

Normal theory is wrong for strongly skewed or two-point rewards, by up to 0.4 in the stated probability: such sets belong to the other
models, and few-valued ones are routed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, digamma, ndtr, polygamma

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.few_valued import Spread, share_of_draws
from flatspot.stats.intervals import variance_interval
from flatspot.stats.zones import Zones, reach_at

_NODES = 48
_DRAWS = 400
_DRAWS_IN_ALL = 40_000_000
_ROWS_AT_ONCE = 8192
_MAX_PRIOR_DOF = 1000.0


def continuous(evidence: Evidence, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...], *, level: float = 0.95) -> Spread:
    """Judge prompts with at least one sample each; smooth and tied ones by their own model, block by block to bound memory."""
    tied = evidence.n_mode >= 2
    m = evidence.n_prompts
    result = Spread(np.zeros((m, 3)), np.zeros((m, 3)), np.zeros(m), np.zeros(m), np.zeros((m, len(group_sizes))))
    smooth_prior = variance_prior(evidence.std[~tied] ** 2, (evidence.n[~tied] - 1).astype(np.float64))
    rest = _rest_of(evidence, tied)
    draws = int(np.clip(_DRAWS_IN_ALL / max(tied.sum(), 1), 100, _DRAWS))
    rng = np.random.default_rng(0)
    for rows in _blocks(np.flatnonzero(~tied)):
        _put(result, rows, _smooth(evidence, rows, smooth_prior, r_star[rows], zones, len(group_sizes), level))
    for rows in _blocks(np.flatnonzero(tied)):
        _put(result, rows, _two_part(evidence, rows, rest, r_star[rows], zones, group_sizes, level, draws, rng))
    return result


def _blocks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _put(result: Spread, rows: Ints, part: Spread) -> None:
    for name in ("states", "wrong", "std_lo", "std_hi", "all_equal"):
        getattr(result, name)[rows] = getattr(part, name)


def variance_prior(variance: Floats, dof: Floats) -> tuple[float, float]:
    """(d0, s0^2) of the scaled inverse chi-square prior on the variance, from the moments of the log sample variances.

    With fewer than three positive variances there is nothing to pool: (0, 0).
    """
    use = (variance > 0) & (dof > 0)
    if use.sum() < 3:
        return 0.0, 0.0
    half = dof[use] / 2
    logs = np.log(variance[use]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    d0 = 2 * _inverse_trigamma(float(excess)) if excess > 0 else _MAX_PRIOR_DOF
    d0 = min(d0, _MAX_PRIOR_DOF)
    return d0, float(np.exp(logs.mean() + digamma(d0 / 2) - np.log(d0 / 2)))


def _inverse_trigamma(y: float) -> float:
    x = 0.5 + 1 / y
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / y) / polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def _smooth(
    evidence: Evidence, rows: Ints, prior: tuple[float, float], r_star: Floats, zones: Zones, n_group_sizes: int, level: float
) -> Spread:
    n, mean, variance = evidence.n[rows].astype(float), evidence.mean[rows], np.nan_to_num(evidence.std[rows]) ** 2
    d0, s0 = prior if prior[0] > 0 else (1.0, zones.span**2 / 12)  # nothing to pool: one pseudo-sample as wide as the range
    dof = d0 + n - 1
    moderated = (d0 * s0 + (n - 1) * variance) / dof
    lo, hi = variance_interval(variance, np.maximum(n - 1, 1), level=level)
    # sigma at the mid-points of equal slices of its posterior; given sigma the mean is normal, so every probability is closed form
    tails = (np.arange(_NODES) + 0.5) / _NODES
    kinds, kind = np.unique(dof, return_inverse=True)
    sigma = np.sqrt(dof[:, None] * moderated[:, None] / chdtri(kinds[:, None], tails)[kind.reshape(-1)])
    root, gap = np.sqrt(n)[:, None], (r_star - mean)[:, None]

    def long(epsilon: float) -> Floats:
        return np.asarray(root * (gap / sigma - reach_at(epsilon)))

    def far(epsilon: float) -> Floats:
        return np.asarray(root * (gap - epsilon * zones.span) / sigma)

    e = zones.epsilon
    vanishing = ndtr(np.minimum(long(e), far(e))).mean(-1)
    solved = 1 - ndtr(far(e)).mean(-1)
    vanishing_wrong = 1 - ndtr(np.minimum(long(2 * e), far(e / 2))).mean(-1)
    learnable_wrong = 1 - np.maximum(ndtr(far(e / 2)) - ndtr(long(e / 2)), 0.0).mean(-1)
    solved_wrong = ndtr(far(2 * e)).mean(-1)
    return Spread(
        states=np.stack([vanishing, 1 - vanishing - solved, solved], -1),
        wrong=np.stack([vanishing_wrong, learnable_wrong, solved_wrong], -1),
        std_lo=np.where(n > 1, np.sqrt(lo), 0.0),
        std_hi=np.where(n > 1, np.sqrt(hi), zones.span / 2),
        all_equal=np.zeros((len(n), n_group_sizes)),
    )


@dataclass(frozen=True)
class _Rest:
    """What lies off the mode, over the tied prompts of a set: its share, its variance, and how far off its means are."""

    share: float
    variance: float
    offsets: Floats


def _off_mode(evidence: Evidence, rows: Ints) -> tuple[Floats, Floats, Floats]:
    """(n, offset of the mean, variance) of the samples off the mode, from the moments of all; offset NaN where there are none."""
    n, gap = evidence.n[rows], evidence.mean[rows] - evidence.mode[rows]
    n_rest = (n - evidence.n_mode[rows]).astype(float)
    offset = np.where(n_rest > 0, n * gap / np.maximum(n_rest, 1), np.nan)
    squares = (n - 1) * evidence.std[rows] ** 2 + n * gap**2 - n_rest * np.nan_to_num(offset) ** 2
    return n_rest, offset, np.maximum(squares, 0.0) / np.maximum(n_rest - 1, 1)


def _rest_of(evidence: Evidence, tied: NDArray[np.bool_]) -> _Rest:
    if not tied.any():
        return _Rest(0.5, 0.0, np.zeros(0))
    n_rest, offset, variance = _off_mode(evidence, np.flatnonzero(tied))
    share = float(np.clip(n_rest.sum() / evidence.n[tied].sum(), 0.01, 0.99))
    pooled = float(np.average(variance, weights=np.maximum(n_rest - 1, 1e-9))) if (n_rest > 1).any() else 0.0
    return _Rest(share, pooled, offset[n_rest > 0])


def _two_part(
    evidence: Evidence,
    rows: Ints,
    rest: _Rest,
    r_star: Floats,
    zones: Zones,
    group_sizes: tuple[int, ...],
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> Spread:
    n_rest, offset, variance = _off_mode(evidence, rows)
    n_mode, mode = evidence.n_mode[rows].astype(float), evidence.mode[rows]
    shape = (len(rows), draws)
    q = rng.beta((n_rest + rest.share)[:, None], (n_mode + 1 - rest.share)[:, None], shape)
    dof = np.maximum(n_rest - 1, 0) + 2
    scale = np.maximum(n_rest - 1, 0) * variance + 2 * rest.variance
    v = scale[:, None] / rng.chisquare(dof[:, None], shape)
    shift = np.nan_to_num(offset)[:, None] + rng.standard_normal(shape) * np.sqrt(v / np.maximum(n_rest, 1)[:, None])
    unseen = n_rest == 0
    shift[unseen] = _unseen_shift(rest.offsets, mode[unseen], draws, zones, rng)
    mean = mode[:, None] + q * shift
    std = np.sqrt(q * v + q * (1 - q) * shift**2)
    lo, hi = np.quantile(std, [(1 - level) / 2, (1 + level) / 2], axis=1)
    equal = np.stack([((1 - q) ** k).mean(-1) for k in group_sizes], -1)
    target = r_star[:, None]
    return Spread(zones.states(mean, std, target).mean(1), share_of_draws(zones.wrong(mean, std, target)), lo, hi, equal)


def _unseen_shift(seen: Floats, mode: Floats, draws: int, zones: Zones, rng: np.random.Generator) -> Floats:
    """How far from the mode an as yet unseen reward may lie: as for the set's other prompts, else as far as the range allows."""
    if len(seen):
        return rng.choice(seen, (len(mode), draws))
    farthest = np.where(zones.hi - mode >= mode - zones.lo, zones.hi - mode, zones.lo - mode)
    return np.broadcast_to(farthest[:, None], (len(mode), draws))
