"""95% limits of what decides about a prompt: its mean, how often its groups are mixed, and the gain of the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints, distinct
from flatspot.stats.intervals import clopper_pearson, equal_rewards_share
from flatspot.stats.zones import Zones, gain_of, mixed_of

_SPLITS = 33


@dataclass(frozen=True)
class Limits:
    """[M, 2] lower and upper 95% limits of each prompt's mean reward, P(a group of K is mixed), and gain of the best of K."""

    mean: Floats
    mixed: Floats
    gain: Floats


def binary_limits(hits: Ints, n: Ints, low: float, high: float, group_size: int) -> Limits:
    """Of rewards `low` and `high`, of which a prompt earned the high one `hits` times in n: Clopper-Pearson, mapped."""
    return mapped_limits(*clopper_pearson(hits, n), low, high, group_size)


def mapped_limits(lo: Floats, hi: Floats, low: float, high: float, group_size: int) -> Limits:
    """Of rewards `low` and `high`, of which a prompt earns the high one with a probability between lo and hi.

    Neither map is monotone: each is rising up to its peak and falling from there, so that its least is at an end of [p_lo, p_hi] and its
    most at the point of it nearest the peak.
    """
    mixed = _between(mixed_of(lo, group_size), mixed_of(hi, group_size), mixed_of(np.clip(0.5, lo, hi), group_size))
    gain = _between(gain_of(lo, group_size), gain_of(hi, group_size), gain_of(np.clip(_peak(group_size), lo, hi), group_size))
    return Limits(low + np.stack([lo, hi], -1) * (high - low), mixed, gain * (high - low))


def mapped_std(lo: Floats, hi: Floats, low: float, high: float) -> Floats:
    """[M, 2] limits of the std of the same rewards: sqrt(p (1 - p)) of their distance."""
    return (high - low) * np.sqrt(_between(lo * (1 - lo), hi * (1 - hi), (at := np.clip(0.5, lo, hi)) * (1 - at)))


def equal_rewards_limits(value: Floats, n: Ints, zones: Zones) -> Limits:
    """After n rewards that all equal `value` [M], for any reward in the range: at most a share q of it lies elsewhere.

    The mean is then within q of the way to either end, and at most 1 - (1 - q)^K of the groups are mixed. The best of K gains most if a
    part u of that share is the top and v = q - u the bottom: (1 - (1 - u)^K - u) (top - value) + v (1 - v^(K-1)) (value - bottom).
    """
    q, k = equal_rewards_share(n), zones.group_size
    up, down, zero = zones.hi - value, value - zones.lo, np.zeros_like(q)
    mean = np.stack([value - q * down, value + q * up], -1)
    at_top = np.minimum(np.linspace(0, 1, _SPLITS)[:, None] * q, _peak(k))
    at_bottom = q - at_top
    gain = (gain_of(at_top, k) * up + at_bottom * (1 - at_bottom ** (k - 1)) * down).max(0)
    return Limits(mean, np.stack([zero, 1 - (1 - q) ** k], -1), np.stack([zero, gain], -1))


def with_equal(limits: Limits, flat: NDArray[np.bool_], value: Floats, n: Ints, zones: Zones) -> Limits:
    """The limits [M, 2], and where `flat` [M] says that a prompt's n rewards all equal `value` [M], those of equal rewards."""
    if not flat.any():
        return limits
    (value, n), place, _ = distinct(value[flat], n[flat])  # a few, of any number of prompts
    equal = equal_rewards_limits(value, n, zones)
    of = [limits.mean.copy(), limits.mixed.copy(), limits.gain.copy()]
    for ours, theirs in zip(of, (equal.mean, equal.mixed, equal.gain), strict=True):
        ours[flat] = theirs[place]
    return Limits(*of)


def _peak(group_size: int) -> float:
    """The p at which 1 - (1 - p)^K - p is largest."""
    return float(1 - group_size ** (-1 / (group_size - 1)))


def _between(at_lo: Floats, at_hi: Floats, at_most: Floats) -> Floats:
    return np.stack([np.minimum(at_lo, at_hi), at_most], -1)
