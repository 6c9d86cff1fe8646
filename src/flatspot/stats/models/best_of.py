"""The expected best of K rewards, for every posterior draw of a prompt's distribution at once: atoms, and rests of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.stats.models.moments import Moments
from flatspot.stats.models.parts import Parts
from flatspot.stats.models.shapes import CUTS, CUTS_OF_PARTS, FEW_CUTS, shapes

_CELLS_AT_ONCE = 50_000  # as many as stay in a core's cache
_SEVERAL = 3  # rests: then none of them makes the best of a group by itself


@lru_cache(maxsize=3)
def _strata(*, many: bool, of_parts: bool = False) -> tuple[Floats, Floats]:
    """(mean [H, G] of each stratum of each shape, its probability [G])."""
    return shapes().strata(FEW_CUTS if not many else CUTS_OF_PARTS if of_parts else CUTS)


@lru_cache(maxsize=64)
def _gains(group_size: int, *, many: bool) -> Floats:
    """[H] E[max of K] of each shape of mean 0 and std 1."""
    at, share = _strata(many=many)
    return _best(at, np.broadcast_to(share, at.shape), group_size)


def expected_best(draws: Moments, parts: Parts, group_size: int) -> Floats:
    """[R, draws] E[max of K] of the reward of each draw: the sum of value · (F^K − F_before^K) over its values in ascending order.

    Atoms are exact. A rest is 33 strata, which puts the best of 2 to 64 of a normal one within 0.006 of its std of the integral, that of
    128 within 0.008. Each of three rests or more is 17: within 0.006 of the widest one's std for the best of
    2 to 8, 0.016 for that of 64 and 128.
    """
    return _over_strata(draws, parts, group_size, many=True)


def gain_about(draws: Moments, parts: Parts, group_size: int, limits: Sequence[float]) -> Floats:
    """[R, draws] E[max of K] less the mean where it is near one of the limits; elsewhere a bound on the same side of each of them.

    A rest in 8 strata gives a lower bound, since the maximum is convex. It is short by about what it is for a rest alone at most, and by
    less of a rest of little weight. Where there is a limit in between, those of `expected_best` decide.
    """
    bound = _over_strata(draws, parts, group_size, many=False) - draws.mean
    short = (_gains(group_size, many=True) - _gains(group_size, many=False))[draws.rest_shape] * np.sqrt(draws.rest_variance)
    short = (short * np.minimum(1.0, 3 * np.sqrt(draws.weights[..., parts.n_atoms + 1 :]))).sum(-1)
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
    return float(_gains(group_size, many=True)[0])


def _over_strata(draws: Moments, parts: Parts, group_size: int, *, many: bool) -> Floats:
    values, a = parts.values, parts.n_atoms
    own, rest, n_known = draws.weights[..., a], draws.weights[..., a + 1 :], draws.known.shape[-1]
    if not own.any() and not rest.any() and not n_known:
        return _best(values, draws.weights[..., :a], group_size)
    spread = np.sqrt(draws.rest_variance)
    if a == 0 and not own.any() and rest.shape[-1] == 1 and not n_known:
        return np.asarray(draws.rest_mean + spread * _gains(group_size, many=many)[draws.rest_shape])[..., 0]
    at, share = _strata(many=many, of_parts=rest.shape[-1] >= _SEVERAL)
    n_own, n_rest = int(own.any()), rest.shape[-1] * len(share)
    most = a + n_own + n_known + n_rest
    best, step = np.empty(own.shape), max(1, _CELLS_AT_ONCE * len(own) // (own.size * most))
    for start in range(0, len(own), step):
        some = slice(start, start + step)
        points = np.empty((*own[some].shape, most), complex)  # each weight beside its value, so that one sort carries both
        points[..., :a] = values + 1j * draws.weights[some, ..., :a]
        if n_own:
            points[..., a] = draws.own[some] + 1j * own[some]
        points[..., a + n_own : most - n_rest] = draws.known[some] + 1j * draws.known_weight[some]
        places = draws.rest_mean[some, ..., None] + spread[some, ..., None] * at[draws.rest_shape[some]]
        points[..., most - n_rest :] = (places + 1j * rest[some, ..., None] * share).reshape(*own[some].shape, n_rest)
        points.sort(axis=-1)
        best[some] = _best(points.real, points.imag, group_size)
    return best


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


def all_equal(draws: Moments, group_size: int) -> Floats:
    """[R, draws] probability that a group is all equal."""
    return np.asarray(power(draws.ties, group_size).sum(-1))
