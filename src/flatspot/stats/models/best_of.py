"""The expected best of K rewards, for every posterior draw of a prompt's distribution at once: atoms, bins, and a normal rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from flatspot.stats.evidence import Floats
from flatspot.stats.models.families import Moments, Parts

# Quantiles at which a normal rest is cut into strata, each standing for its mean: finer to the top, which the best of K comes from.
_CUTS = np.r_[np.linspace(0.05, 0.9, 18), 1 - np.geomspace(0.08, 0.001, 14)]
_FEW_CUTS = np.array([0.25, 0.5, 0.72, 0.87, 0.95, 0.985, 0.997])
_IN_BIN = 4  # points that stand for the inside of a bin
_CELLS_AT_ONCE = 50_000  # as many as stay in a core's cache


def _strata(cuts: Floats) -> tuple[Floats, Floats]:
    """(mean [G] of each stratum of a standard normal reward, its probability [G])."""
    edges = ndtri(np.r_[0.0, cuts, 1.0])
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    share = np.diff(np.r_[0.0, cuts, 1.0])
    return np.asarray(-np.diff(density) / share), np.asarray(share)


_MANY, _FEW = _strata(_CUTS), _strata(_FEW_CUTS)


def expected_best(draws: Moments, parts: Parts, group_size: int) -> Floats:
    """[R, draws] E[max of K] of the reward of each draw: the sum of value · (F^K − F_before^K) over its values in ascending order.

    Atoms are exact. A normal rest is 33 strata, which puts its best of 2 to 128 within 0.005 of its std of the integral.
    """
    return _over_strata(draws, parts, group_size, _MANY)


def gain_about(draws: Moments, parts: Parts, group_size: int, limits: Sequence[float]) -> Floats:
    """[R, draws] E[max of K] less the mean where it is near one of the limits; elsewhere a bound on the same side of each of them.

    A rest in 8 strata gives a lower bound, since the maximum is convex. It is short by about what it is for a rest alone at most, and by
    less of a rest of little weight. Where there is a limit in between, 33 strata decide.
    """
    bound = _over_strata(draws, parts, group_size, _FEW) - draws.mean
    short = (normal_gain(group_size) - float(_best(*_FEW, group_size))) * np.sqrt(draws.rest_variance)
    short = short * np.minimum(1.0, 3 * np.sqrt(draws.weights[..., -1]))
    near = np.zeros(bound.shape, bool)
    for limit in limits:
        near |= (bound < limit + 0.1 * short) & (bound > limit - 1.3 * short)
    if near.any():
        part = draws.at(near)
        bound[near] = expected_best(part, parts, group_size) - part.mean
    return bound


def normal_gain(group_size: int) -> float:
    """E[max of K] of a standard normal reward.

    >>> round(normal_gain(8), 2)
    1.42
    """
    return float(_best(*_MANY, group_size))


def _over_strata(draws: Moments, parts: Parts, group_size: int, strata: tuple[Floats, Floats]) -> Floats:
    values, weights = _fixed_points(parts, draws.weights[..., :-2])
    own, rest = draws.weights[..., -2], draws.weights[..., -1]
    if not own.any() and not rest.any():
        return _best(values, weights, group_size)
    spread = np.sqrt(draws.rest_variance)
    if len(values) == 0 and not own.any():
        return np.asarray(draws.rest_mean + spread * float(_best(*strata, group_size)))
    at, share = strata
    most = len(values) + bool(own.any()) + len(at)
    best, step = np.empty(own.shape), max(1, _CELLS_AT_ONCE * len(own) // (own.size * most))
    for start in range(0, len(own), step):
        some = slice(start, start + step)
        points = np.empty((*own[some].shape, most), complex)  # each weight beside its value, so that one sort carries both
        for part, fixed, loose in (
            (points.real, values, draws.rest_mean[some, ..., None] + spread[some, ..., None] * at),
            (points.imag, weights[some], rest[some, ..., None] * share),
        ):
            part[..., : len(values)], part[..., most - len(at) :] = fixed, loose
        if most > len(values) + len(at):
            points[..., len(values)] = draws.own[some] + 1j * own[some]
        points.sort(axis=-1)
        best[some] = _best(points.real, points.imag, group_size)
    return best


def _fixed_points(parts: Parts, weights: Floats) -> tuple[Floats, Floats]:
    """The atoms and bins as (values [P] in ascending order, weights [R, draws, P]), a bin being spread over points of its variance."""
    if not parts.within.any():
        return parts.values, weights
    at = ndtri((np.arange(_IN_BIN) + 0.5) / _IN_BIN)
    at /= np.sqrt((at**2).mean())
    values = (parts.values[:, None] + np.sqrt(parts.within)[:, None] * at).reshape(-1)
    order = np.argsort(values, kind="stable")
    return values[order], (np.repeat(weights, _IN_BIN, axis=-1) / _IN_BIN)[..., order]


def _best(values: Floats, weights: Floats, group_size: int) -> Floats:
    """E[max of K] = the largest value less the steps down from it, each as often as all K stay below: Σ (v_{i+1} − v_i) F_i^K."""
    below = np.minimum(np.cumsum(weights, axis=-1)[..., :-1], 1.0)
    return np.asarray(values[..., -1] - np.einsum("...i,...i->...", np.diff(values, axis=-1), power(below, group_size)))


def power(base: Floats, k: int) -> Floats:
    """base**k for k >= 1 by squaring, several times as fast as numpy's.

    >>> power(np.array([0.5, 2.0]), 5).tolist()
    [0.03125, 32.0]
    """
    square, product = base, base if k % 2 else None
    while k := k // 2:
        square = square * square
        if k % 2:
            product = square if product is None else product * square
    return square if product is None else product
