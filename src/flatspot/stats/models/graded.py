"""Judge rewards of any kind from posterior draws of each prompt's mean and std."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.models.families import Parts, moments, prior_of, split
from flatspot.stats.zones import Zones

_DRAWS = 400
_FEWEST_DRAWS = 64
_DRAWS_IN_ALL = 40_000_000
_CELLS_IN_ALL = 300_000_000
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Spread:
    """What the model says of each prompt. The first axis of every array is the prompt.

    states          [M, 3] probability of vanishing, learnable, solved
    wrong           [M, 3] probability that each verdict is wrong, beyond indifference
    std_lo, std_hi  [M] 95% limits of the std under the policy
    all_equal       [M, K] probability that a group of each size is all equal
    parts           the categories its samples fell into
    """

    states: Floats
    wrong: Floats
    std_lo: Floats
    std_hi: Floats
    all_equal: Floats
    parts: Parts


def many_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...]) -> Spread:
    """Judge prompts with at least one sample each; r_star [M]."""
    parts = split(evidence, zones)
    m = evidence.n_prompts
    if parts.counts[:, -1].any():
        rows = inverse = np.arange(m)
    else:  # all that is known of a prompt is its counts, so prompts with equal ones share an answer and their order does not matter
        _, rows, inverse = np.unique(np.c_[parts.counts, r_star], axis=0, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
    states, wrong, limits, equal = _judged(parts, rows, r_star[rows], zones, group_sizes)
    return Spread(states[inverse], wrong[inverse], limits[inverse, 0], limits[inverse, 1], equal[inverse], parts)


def _judged(parts: Parts, rows: Ints, r_star: Floats, zones: Zones, group_sizes: tuple[int, ...]) -> tuple[Floats, Floats, Floats, Floats]:
    prior = prior_of(parts)
    width = parts.counts.shape[1]
    draws = int(np.clip(min(_DRAWS_IN_ALL, _CELLS_IN_ALL / width) / len(rows), _FEWEST_DRAWS, _DRAWS))
    states, wrong, limits = np.empty((len(rows), 3)), np.empty((len(rows), 3)), np.empty((len(rows), 2))
    equal = np.empty((len(rows), len(group_sizes)))
    rng = np.random.default_rng(0)
    for at in _blocks(len(rows), draws * width):
        found = moments(parts, rows[at], prior, draws, rng)
        target = r_star[at, None]
        states[at] = zones.states(found.mean, found.std, target).mean(1)
        wrong[at] = share_of_draws(zones.wrong(found.mean, found.std, target))
        limits[at] = np.quantile(found.std, [0.025, 0.975], axis=1).T
        for i, k in enumerate(group_sizes):
            equal[at, i] = power(found.ties, k).sum(-1).mean(-1)
    return states, wrong, limits, equal


def power(base: Floats, k: int) -> Floats:
    """base**k for k >= 1 by squaring, several times as fast as numpy's.

    >>> power(np.array([0.5, 2.0]), 5).tolist()
    [0.03125, 32.0]
    """
    found, square = None, base
    while True:
        if k % 2:
            found = square if found is None else found * square
        k //= 2
        if not k:
            assert found is not None
            return found
        square = square * square


def share_of_draws(indicators: Floats) -> Floats:
    """[M, S] share of posterior draws [M, draws, S] that hold, half a draw short of certain: S draws cannot show less than about 1 / S."""
    draws = indicators.shape[1]
    return np.asarray((indicators.sum(1) + 0.5) / (draws + 1))


def _blocks(total: int, cells: int) -> Iterator[slice]:
    step = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, total, step):
        yield slice(start, start + step)


def misfits(parts: Parts) -> tuple[str, ...]:
    """Where the model and the rewards disagree."""
    distance, checked = parts.fit
    if parts.binned:
        return (
            "the continuous part of the rewards is not near normal within a prompt (probabilities off by up to "
            f"{distance:.2f} over {checked} prompts): it was cut into bins, so values that no prompt has shown yet are missed, and stated "
            "errors may be too low",
        )
    rest = int((parts.counts[:, -1] > 0).sum())
    if rest and checked < 10:
        return (
            f"{rest} prompts have rewards with many values and only {checked} could be checked against the model, which takes 10 prompts: "
            "stated errors rest on normality",
        )
    return ()
