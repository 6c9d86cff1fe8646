"""A prompt's reward distribution, its unseen part filled in by what new draws earned: mean and std within all that is proved.

    sum_i p_i delta(r_i) + u Q

with Q the rewards of the new draws, each weighted by 1 / u_j (`stats.first_draws`), mixed with one end of the range until the whole has
the mean that the draws show. Any Q leaves both within their proved bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.first_draws import Scaled
from flatspot.stats.known_mass import KnownMass


@dataclass(frozen=True)
class Completed:
    """[M] estimates of M prompts, NaN without a draw, and [M, 2] limits of the mean that hold at any time with probability 0.95.

    mean, std  of the reward (ddof 0)
    """

    mean: Floats
    std: Floats
    mean_limits: Floats


def completed(known: KnownMass, lo: float, hi: float) -> Completed | None:
    """The estimates, for rewards in [lo, hi]; None where the order of the draws is not known.

    >>> from flatspot.stats.known_mass import known_mass
    >>> known = known_mass(np.zeros(4, int), np.array([0, 1, 0, 0]), np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.08, 0.9, 0.9]), 1)
    >>> done = completed(known, 0.0, 1.0)
    >>> done.mean.round(3).tolist(), done.std.round(3).tolist(), done.mean_limits.round(3).tolist()
    ([0.1], [0.3], [[0.08, 0.1]])
    """
    if known.firsts is None:
        return None
    new = known.firsts.within(lo, hi)
    mean, span = new.mean, hi - lo
    prompt, x, weight = _filled(known, new, mean, np.clip((known.reward - lo) / span, 0.0, 1.0))
    variance = _sum(prompt, x**2 * weight, len(mean)) - mean**2
    return Completed(
        mean=lo + span * mean,
        std=span * np.sqrt(np.maximum(variance, 0.0)),
        mean_limits=lo + span * new.limits(),
    )


def _filled(known: KnownMass, new: Scaled, mean: Floats, x: Floats) -> tuple[Ints, Floats, Floats]:
    """(prompt, reward, probability) of the known part, of the new draws again for what is unseen, and of the end that makes up the mean."""
    m, of = len(mean), new.of
    low, unseen = new.proved[:, 0], np.diff(new.proved)[:, 0]
    share = 1 / new.unseen
    share = share / _sum(of.prompt, share, m)[of.prompt]
    shown = _sum(of.prompt, share * new.x, m)
    wanted = np.divide(mean - low, unseen, out=np.zeros(m), where=unseen > 0)
    wanted = np.clip(np.nan_to_num(wanted), 0.0, 1.0)
    up = wanted > shown
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(up, (1 - wanted) / (1 - shown), np.where(wanted < shown, wanted / shown, 1.0))
    has = np.isfinite(mean)
    return (
        np.r_[known.prompt, of.prompt, np.flatnonzero(has)],
        np.r_[x, new.x, up[has].astype(float)],
        np.r_[known.mass, unseen[of.prompt] * kept[of.prompt] * share, (unseen * (1 - kept))[has]],
    )


def _sum(prompt: Ints, values: Floats, m: int) -> Floats:
    totals = np.zeros(m)
    np.add.at(totals, prompt, values)
    return totals
