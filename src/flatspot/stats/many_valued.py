"""Judge rewards of any kind from posterior draws, and say which prompts another round is for.

Nothing here plans ahead as `stopping` does: in more than two values there is no small table of states. A prompt is settled when it
belongs to the largest set of sure prompts whose mean risk meets the target, so the next round goes to the least sure of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flatspot.stats.draws import Draws
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.families import Parts, moments, prior_of, split
from flatspot.stats.forecast import GROUP_SIZES, forecast_from_prompts
from flatspot.stats.posterior import Posterior, fractions_of
from flatspot.stats.stopping import Flags
from flatspot.stats.zones import Zones

_DRAWS = 400
_DRAWS_IN_ALL = 4_000_000
_FEWEST_DRAWS = 64
_CELLS_AT_ONCE = 4_000_000


def parts_of(draws: Draws, zones: Zones) -> Parts:
    """Everything scored, split into categories."""
    prompt, reward = draws.rows()
    scored = np.isfinite(reward)
    return split(prompt[scored], reward[scored], draws.n_prompts, zones)


def unsettled_many(draws: Draws, zones: Zones, target: float) -> Flags:
    """[M] prompts outside the largest set, surest first, whose mean risk is at most the target."""
    risk = np.ones(draws.n_prompts)
    scored = np.flatnonzero(draws.scored > 0)
    if len(scored):
        risk[scored] = judged(parts_of(draws, zones), scored, zones, ())[1].min(-1)
    order = np.argsort(risk, kind="stable")
    mean = np.cumsum(risk[order]) / np.arange(1, len(order) + 1)
    settled = np.zeros(draws.n_prompts, bool)
    settled[order[mean <= target]] = True
    return ~settled


def judged(parts: Parts, rows: Ints, zones: Zones, group_sizes: tuple[int, ...]) -> tuple[Floats, Floats, Floats, Floats]:
    """states [R, 3], wrong [R, 3], 95% limits of the std [R, 2], all-equal probability per group size [R, K]."""
    prior = prior_of(parts)
    draws = int(np.clip(_DRAWS_IN_ALL / len(rows), _FEWEST_DRAWS, _DRAWS))
    states, wrong, limits = np.empty((len(rows), 3)), np.empty((len(rows), 3)), np.empty((len(rows), 2))
    equal = np.empty((len(rows), len(group_sizes)))
    target = np.full((1, 1), zones.hi)
    rng = np.random.default_rng(0)
    for at in _blocks(len(rows), draws * parts.counts.shape[1]):
        found = moments(parts, rows[at], prior, draws, rng)
        states[at] = zones.states(found.mean, found.std, target).mean(1)
        wrong[at] = zones.wrong(found.mean, found.std, target).mean(1)
        limits[at] = np.quantile(found.std, [0.025, 0.975], axis=1).T
        for i, k in enumerate(group_sizes):
            equal[at, i] = (found.ties**k).sum(-1).mean(-1)
    return states, wrong, limits, equal


def _blocks(total: int, cells: int) -> Iterator[slice]:
    step = max(1, _CELLS_AT_ONCE // cells)
    for start in range(0, total, step):
        yield slice(start, start + step)


def judge_many(draws: Draws, zones: Zones, group_size: int) -> tuple[Posterior, tuple[str, ...]]:
    """The posterior of every prompt, and what to hold against it."""
    m = draws.n_prompts
    rows = np.flatnonzero(draws.scored > 0)
    parts = parts_of(draws, zones)
    states, wrong, limits, equal = judged(parts, rows, zones, (*GROUP_SIZES, group_size))
    rng = np.random.default_rng(0)

    def placed(values: Floats) -> Floats:
        full = np.full((m, *values.shape[1:]), np.nan)
        full[rows] = values
        return full

    found = Posterior(
        model=parts.family,
        states=placed(states),
        wrong=placed(wrong),
        std_lo=placed(limits[:, 0]),
        std_hi=placed(limits[:, 1]),
        mixed=placed(1 - equal[:, -1]),
        fractions=fractions_of(states, rng),
        forecast=forecast_from_prompts(1 - equal[:, :-1], rng),
    )
    return found, caveats_of(parts)


def caveats_of(parts: Parts) -> tuple[str, ...]:
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


def mixed_shares(draws: Draws, sizes: tuple[int, ...], refits: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The expected share of mixed groups [S], and under prompts reweighted by the Bayesian bootstrap [refits, S]."""
    rows = np.flatnonzero(draws.scored > 0)
    zones = Zones(0.05, draws.low, draws.high if draws.high > draws.low else draws.low + 1.0)  # no threshold matters here
    mixed = np.clip(1 - judged(parts_of(draws, zones), rows, zones, sizes)[3], 0.0, 1.0)
    shares = np.empty((refits, len(sizes)))
    for i, column in enumerate(mixed.T):
        kinds, size = np.unique(column.round(3), return_counts=True)
        kinds, size = np.r_[0.0, kinds, 1.0], np.r_[0.25, size, 0.25]  # half a pseudo-prompt, so that equal prompts give no point
        weights = rng.standard_gamma(size, (refits, len(kinds)))
        shares[:, i] = weights @ kinds / weights.sum(-1)
    return mixed.mean(0), shares
