"""What the counts allow a mean over prompts to be: limits by profile likelihood over every distribution of p.

For a function f of p, such as the chance that a group is mixed, the value v is as credible as the best g with mean f = v is likely:
drop(v) = max_g log L(g) - max_{g: g·f = v} log L(g), and the limits are where the drop reaches half a chi-square quantile (1 degree of
freedom). The g along the way maximize log L(g) + a N g·f for a from -30 to 30; EM does so, its M-step being g_j = r_j / (u - a N f_j)
with r the expected number of prompts at p_j and u the root that makes g sum to 1.

Of a share, the mean of an f that is 0 or 1, the end 0 (1) is as credible as the best g without (with nothing but) such p is likely.

Unlike refits to reweighted prompts it sees what few samples cannot tell: at four samples a prompt a group of 32 depends on prompts near 0
and 1, which the refits all place where the smoothing puts them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.npmle import GRID, fit_npmle, likelihood
from flatspot.stats.threads import one_thread

# nominal 90% limits held in 82-98% of 40 sets of 300 prompts (ten populations, K = 4 to 32) without this factor on the normal
# quantile, in 85-98% with it; today's coverage is in benchmarks/claims/README.md
_WIDEN = 1.06
WIDEN_SHARES = 1.2  # the same for nominal 95% limits of a share, whose f has a jump: tests/stats/models/test_profile.py
_TILTS = np.geomspace(0.003, 30.0, 10)
_REFINED, _BETWEEN = 3, 4  # times, and with how many more tilts, that the path is refined around the limits
_LIMIT = 1.645 * _WIDEN
_ITERATIONS = 300
_EVEN_PROMPTS = 1.0  # one pseudo-prompt, spread evenly over the grid: smooth in small sets, and hardly at all in large ones
_ROOT_STEPS = 6
_ENDS_PSEUDO = 1e-3  # pseudo-prompts of the fits at the ends, which nothing has to be smooth for
_LEAST = 1e-300


@dataclass(frozen=True)
class Profile:
    """The mean of a function of p, and how credible other means are.

    central  under the NPMLE
    value    [T] ascending
    z        [T] the signed root of twice the drop at each value: about a standard normal deviate
    ends     of a share: the same at 0 and at 1, infinite where they are out of the question
    """

    central: float
    value: Floats
    z: Floats
    ends: tuple[float, float] = (-np.inf, np.inf)

    def draws(self, z: Floats) -> Floats:
        """[draws] what the mean may be, at these standard normal deviates [draws]."""
        return np.asarray(np.interp(_WIDEN * z, self.z, self.value))

    def limits(self, z: float) -> tuple[float, float]:
        """Limits of a share, z standard deviates to either side."""
        z *= WIDEN_SHARES
        lo, hi = np.interp([-z, z], self.z, self.value)
        return 0.0 if -self.ends[0] <= z else float(lo), 1.0 if self.ends[1] <= z else float(hi)


@one_thread
def profile(n: Ints, hits: Ints, size: Ints, functions: Floats) -> list[Profile]:
    """[F] the profile likelihood of the mean of each function [F, 163] of p on `GRID`, for prompts like these.

    n, hits, size  [C] the distinct (completions, ones) pairs, and how many prompts have each

    >>> upper = profile(np.array([8]), np.array([0]), np.array([100]), np.greater(GRID, 0.5)[None] * 1.0)[0]
    >>> round(upper.central, 3), upper.draws(np.array([1.645])).round(3).tolist()  # the limit: nearly 0.005 + 1.52 / 100
    (0.005, [0.02])
    """
    table, prompts = likelihood(n, hits), size.astype(float)
    f = functions[:, None, :]
    tilts = np.tile(np.r_[-_TILTS[::-1], 0.0, _TILTS], (len(functions), 1))
    g = _tilt(table, prompts, size.sum() * tilts[..., None] * f)
    for _ in range(_REFINED):
        more = _around_the_limits(tilts, _roots(table, prompts, tilts, g))
        order = np.argsort(np.c_[tilts, more], axis=1, kind="stable")
        g = np.concatenate([g, _tilt(table, prompts, size.sum() * more[..., None] * f)], axis=1)
        tilts, g = np.take_along_axis(np.c_[tilts, more], order, 1), np.take_along_axis(g, order[..., None], 1)
    value = np.maximum.accumulate((g * f).sum(-1), axis=1)
    best = _height(table, prompts) if np.isin(functions, (0.0, 1.0)).all(-1).any() else np.nan
    ends = [_ends(table, prompts, own, best) for own in functions]
    return list(map(Profile, value[tilts == 0].tolist(), value, _roots(table, prompts, tilts, g), ends))


def _ends(table: Floats, prompts: Floats, f: Floats, best: float) -> tuple[float, float]:
    """The signed roots of twice the drop where the mean of f is 0 and 1; infinite for an f that has other values."""
    if not np.isin(f, (0.0, 1.0)).all():
        return -np.inf, np.inf
    drops = (max(best - _height(table[:, f == end], prompts), 0.0) for end in (0.0, 1.0))
    without, with_all = (float(np.sqrt(2 * drop)) for drop in drops)
    return -without, with_all


def _height(table: Floats, prompts: Floats) -> float:
    """The largest log likelihood with p at these grid points alone; −inf where they rule a prompt out."""
    if table.shape[1] == 0 or (table.max(1) < _LEAST).any():
        return -np.inf
    return float(prompts @ np.log(np.maximum(table @ fit_npmle(table, prompts, pseudo=_ENDS_PSEUDO), _LEAST)))


def _roots(table: Floats, size: Floats, tilts: Floats, g: Floats) -> Floats:
    """[F, T] the signed root of twice the drop of the likelihood at each g [F, T, 163], made to rise with the tilt."""
    fit = np.log(np.maximum(g @ table.T, _LEAST)) @ size
    drop = np.maximum(fit[tilts == 0][:, None] - fit, 0.0)
    return np.asarray(np.maximum.accumulate(np.sign(tilts) * np.sqrt(2 * drop), axis=1))


def _around_the_limits(tilts: Floats, z: Floats) -> Floats:
    """[F, 2 * _BETWEEN] further tilts, evenly between the two that a limit lies between; where none does, at the end of the path."""
    between = []
    for own, roots in zip(tilts, z, strict=True):
        after = (min(max(int(np.searchsorted(roots, side)), 1), len(own) - 1) for side in (-_LIMIT, _LIMIT))
        between.append(np.concatenate([np.linspace(own[i - 1], own[i], _BETWEEN + 2)[1:-1] for i in after]))
    return np.stack(between)


def _tilt(table: Floats, size: Floats, bonus: Floats) -> Floats:
    """[…, 163] the g that maximize log L(g) + g·bonus, for bonuses […, 163] of mass at each point of the grid."""
    g = np.full(bonus.shape, 1 / len(GRID))
    top = bonus.max(-1, keepdims=True)
    at_top = bonus >= top - 1e-12
    gap, share, summed = np.empty_like(g), np.empty_like(g), np.add.reduce
    for _ in range(_ITERATIONS):
        r = (size / np.maximum(g @ table.T, _LEAST)) @ table
        r *= g
        r += _EVEN_PROMPTS / len(GRID)
        # sum r / (u - bonus) falls from 1 or more here to 1 at the root, convex: Newton's steps rise to it and never pass it
        u = top + (r * at_top).sum(-1, keepdims=True)
        for _ in range(_ROOT_STEPS):
            np.subtract(u, bonus, out=gap)
            np.divide(r, gap, out=share)
            over = summed(share, -1, keepdims=True) - 1
            u = u + over / summed(np.divide(share, gap, out=gap), -1, keepdims=True)
        np.divide(r, np.subtract(u, bonus, out=gap), out=g)
        g /= g.sum(-1, keepdims=True)
    return g
