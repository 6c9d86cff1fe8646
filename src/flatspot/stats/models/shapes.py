"""Shapes of the continuous rewards of a prompt, of mean 0 and std 1: normal, flat, skewed to either side, two bumps, heavy tails.

Each is a mixture of normals at quantiles of a named distribution, so that its density is smooth, and is kept as tables: the logarithm of
its density, its quantiles, and strata from which the best of K follows. A set of prompts is fitted with a distribution over shapes and stds
(`rest`), so that no prompt has to be normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

from flatspot.stats.evidence import Floats, Ints

STEP = 0.05
Z: Floats = np.arange(-15.0, 15.0 + STEP / 2, STEP)
_POINTS = 400
_WIDTHS: Floats = np.geomspace(0.01, 30, 60)
_BANDWIDTH = 0.08  # of the normals that a shape is made of, in its stds
_TAIL = 1e-3  # the weight of a Student-3 of twice the std in every density: one stray reward must not rule a shape out
# Quantiles at which a shape is cut into strata, each standing for its mean: finer to the top, which the best of K comes from.
CUTS: Floats = np.r_[np.linspace(0.05, 0.9, 18), 1 - np.geomspace(0.08, 0.001, 14)]
FEW_CUTS: Floats = np.array([0.25, 0.5, 0.72, 0.87, 0.95, 0.985, 0.997])
# for each of several shapes, of which every one is a part of a distribution
CUTS_OF_PARTS: Floats = np.r_[np.arange(0.1, 0.65, 0.1), 0.7, 0.78, 0.85, 0.9, 0.94, 0.965, 0.98, 0.99, 0.995, 0.998]


@dataclass(frozen=True)
class Shapes:
    """H shapes.

    log_density  [H, 601] at `Z`
    quantiles    [H, 512] at even levels
    """

    names: tuple[str, ...]
    density: Floats
    log_density: Floats
    quantiles: Floats

    def strata(self, cuts: Floats) -> tuple[Floats, Floats]:
        """(mean [H, G] of each stratum, its probability [G])."""
        share = np.diff(np.r_[0.0, cuts, 1.0])
        fine = self.density * STEP
        below = np.cumsum(fine, -1)
        first = np.cumsum(fine * Z, -1)  # the mean below each level: a stratum's is the difference over its share
        edges = np.stack([np.interp(np.r_[0.0, cuts, 1.0], np.r_[0.0, b], np.r_[0.0, f]) for b, f in zip(below, first, strict=True)])
        return np.asarray(np.diff(edges, axis=1) / share), np.asarray(share)

    def largest_cell(self, shape: Ints, width: Floats) -> Floats:
        """[..] the most probable interval of this width, in stds: how often two rewards of the shape are rounded to one value, at most."""
        at = np.interp(np.log(np.maximum(width, 1e-12)), np.log(_WIDTHS), np.arange(len(_WIDTHS)))
        low = at.astype(np.int64)
        share, table = at - low, _cells()
        return np.asarray((1 - share) * table[shape, low] + share * table[shape, np.minimum(low + 1, len(_WIDTHS) - 1)])

    def sample(self, shape: Ints, n: int, rng: np.random.Generator) -> Floats:
        """[.., n] rewards of these shapes."""
        at = rng.integers(0, self.quantiles.shape[1], (*shape.shape, n))
        return np.asarray(self.quantiles[shape[..., None], at])


@lru_cache(maxsize=1)
def shapes() -> Shapes:
    """All of them.

    >>> of = shapes()
    >>> mean, share = of.strata(CUTS)
    >>> bool(np.allclose((of.density * Z).sum(1) * STEP, 0, atol=1e-3)), bool(np.allclose(mean @ share, 0, atol=1e-3))
    (True, True)
    """
    named = _named()
    density = np.stack([_smooth(points) for points in named.values()])
    student = _smooth(2 * stdtrit(3, _levels()[0]) / np.sqrt(3), scale=False)
    log_density = np.log((1 - _TAIL) * density + _TAIL * np.maximum(student, 1e-12))
    levels = (np.arange(512) + 0.5) / 512
    quantiles = np.stack([np.interp(levels, np.cumsum(d) * STEP, Z + STEP / 2) for d in density])
    return Shapes(tuple(named), density, log_density, quantiles)


@lru_cache(maxsize=1)
def _cells() -> Floats:
    """[H, widths] the most probable interval of each width."""
    below = np.cumsum(np.c_[np.zeros(len(shapes().names)), shapes().density * STEP], axis=1)
    edges = np.r_[Z[0] - STEP / 2, Z + STEP / 2]
    return np.stack([np.stack([np.interp(edges + w, edges, b, right=1.0) - b for w in _WIDTHS]).max(1) for b in below]).clip(0, 1)


def _levels() -> tuple[Floats, Floats]:
    """(levels at which a shape is made of normals, their weights): even ones, and finer in the tails, which the best of many comes from."""
    tail = np.geomspace(1e-6, 1 / _POINTS, 24)
    edges = np.unique(np.r_[np.linspace(0, 1, _POINTS + 1), tail, 1 - tail])
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


def _named() -> dict[str, Floats]:
    """Points of each, in any unit."""
    u, _ = _levels()
    points = {"normal": ndtri(u), "flat": u, "heavy": stdtrit(5, u)}
    for k in (3.0, 1.0, 0.3):
        points[f"right {k:g}"], points[f"left {k:g}"] = gammaincinv(k, u), -gammaincinv(k, u)
    for p in (0.1, 0.25, 0.5, 0.75, 0.9):
        v = np.where(u < 1 - p, u / (1 - p), (u - 1 + p) / p)
        points[f"bumps {p:g}"] = (u >= 1 - p) + 0.12 * ndtri(np.clip(v, 1e-5, 1 - 1e-5))
    return points


def _smooth(points: Floats, *, scale: bool = True) -> Floats:
    """[601] density of the points, smoothed; with `scale`, of mean 0 and std 1."""
    weights = _levels()[1]
    if scale:
        points = points - weights @ points
        points = points / np.sqrt(weights @ points**2) * np.sqrt(1 - _BANDWIDTH**2)
    edges = np.r_[Z - STEP / 2, Z[-1] + STEP / 2]
    return np.asarray(np.diff(ndtr((edges[:, None] - points) / _BANDWIDTH) @ weights) / STEP)
