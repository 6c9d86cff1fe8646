"""Limits of a mean over prompts by profile likelihood, for any table of likelihoods: `profile` is the same on the grid of p.

The mean of f over a distribution g of candidates is as credible as the best g with that mean is likely. The g along the way maximize
log L(g) + a N g·f for tilts a of either sign; EM does so, and its M-step is g_j = r_j / (u - a N f_j) with r the expected number of
prompts at candidate j and u the root that makes g sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.threads import one_thread

_TILTS = np.geomspace(0.01, 20.0, 7)
_BETWEEN = 4
_FIRST, _NEXT = 200, 60  # steps of EM: from an even start, and from the fit on to each tilt
_EVEN_PROMPTS = 1.0
_ROOT_STEPS = 6
_LEAST = 1e-300


@dataclass(frozen=True)
class MeanProfile:
    """The mean of a function over prompts, and how credible others are.

    central  under the likeliest distribution
    value    [T] ascending
    z        [T] the signed root of twice the drop of the log likelihood at each: about a standard normal deviate
    """

    central: float
    value: Floats
    z: Floats

    def at(self, z: Floats) -> Floats:
        """What the mean is at these standard normal deviates."""
        return np.asarray(np.interp(z, self.z, self.value))


@one_thread
def mean_profiles(table: Floats, size: Floats, functions: Floats, z: float) -> list[MeanProfile]:
    """[F] the profile of the mean of each function [F, J] over candidates with likelihoods [C, J], `size` [C] prompts of each kind.

    z  the deviate around which the path is refined

    >>> table = np.array([[1.0, 0.5], [0.0, 0.5]])  # a sure thing and a coin, one toss
    >>> path = mean_profiles(table, np.array([75.0, 25.0]), np.array([[0.0, 1.0]]), 1.96)[0]
    >>> round(path.central, 2), path.at(np.array([-1.96, 1.96])).round(2).tolist()  # 2 (0.25 ± 1.96 sqrt(0.25 · 0.75 / 100))
    (0.5, [0.34, 0.68])
    """
    even = _EVEN_PROMPTS / table.shape[1]
    start = np.full((1, 1, table.shape[1]), 1 / table.shape[1])
    fit = _tilted(table, size, np.zeros_like(start), start, even, _FIRST)
    top = _height(table, size, fit)[0, 0]
    tilts = np.tile(np.r_[-_TILTS[::-1], 0.0, _TILTS], (len(functions), 1))
    f = functions[:, None, :]
    scale = np.maximum(np.ptp(functions, axis=-1), 1e-12)[:, None, None]

    def path(tilts: Floats) -> Floats:
        first = np.broadcast_to(fit, (*tilts.shape, table.shape[1]))
        return _tilted(table, size, size.sum() * tilts[..., None] * f / scale, first, even, _NEXT)

    g = path(tilts)
    more = _around(tilts, _roots(table, size, tilts, g, top), z)
    g, tilts = np.concatenate([g, path(more)], axis=1), np.c_[tilts, more]
    order = np.argsort(tilts, axis=1, kind="stable")
    tilts, g = np.take_along_axis(tilts, order, 1), np.take_along_axis(g, order[..., None], 1)
    values = np.maximum.accumulate((g * f).sum(-1), axis=1)
    roots = _roots(table, size, tilts, g, top)
    return [MeanProfile(float(value[tilt == 0][0]), value, root) for value, root, tilt in zip(values, roots, tilts, strict=True)]


def _around(tilts: Floats, roots: Floats, z: float) -> Floats:
    """[F, 2 * _BETWEEN] further tilts, evenly between the two that a limit lies between."""
    between = []
    for own, root in zip(tilts, roots, strict=True):
        after = (min(max(int(np.searchsorted(root, side)), 1), len(own) - 1) for side in (-z, z))
        between.append(np.concatenate([np.linspace(own[i - 1], own[i], _BETWEEN + 2)[1:-1] for i in after]))
    return np.stack(between)


def _height(table: Floats, size: Floats, g: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(g @ table.T, _LEAST)) @ size)


def _roots(table: Floats, size: Floats, tilts: Floats, g: Floats, top: float) -> Floats:
    height = _height(table, size, g)
    top = np.maximum(height.max(), top)
    drop = np.where(tilts == 0, 0.0, np.maximum(top - height, 0.0))
    return np.asarray(np.maximum.accumulate(np.sign(tilts) * np.sqrt(2 * drop), axis=1))


def _tilted(table: Floats, size: Floats, bonus: Floats, start: Floats, even: float, steps: int) -> Floats:
    """[F, T, J] the g that maximize log L(g) + g·bonus, by EM from `start`."""
    g = np.array(start)
    below = bonus.max(-1, keepdims=True) - bonus  # by how much: beside bonuses of 1e14, r would be lost to rounding
    at_top = below <= 1e-12
    for _ in range(steps):
        r = (size / np.maximum(g @ table.T, _LEAST)) @ table
        r *= g
        r += even
        # sum r / (u + below) is 1 or more here, and falls, convex: Newton never passes the root
        u = (r * at_top).sum(-1, keepdims=True)
        for _ in range(_ROOT_STEPS):
            gap = u + below
            share = r / gap
            u = u + (share.sum(-1, keepdims=True) - 1) / (share / gap).sum(-1, keepdims=True)
        g = r / (u + below)
        g /= g.sum(-1, keepdims=True)
    return g
