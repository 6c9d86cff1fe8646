"""How large the error of the verdicts may be, if the set is not what the smooth fit says but something else its counts allow as well.

Four samples a prompt cannot tell clumps of prompts on either side of a limit from prompts spread between them, and refits to reweighted
prompts all make the same mistake. So the limit is taken over all distributions g: the largest mean error of the verdicts given, among
those g whose log likelihood is within half the 95% point of chi-square (1 degree of freedom) of the best. They are found by tilting:
the likeliest for likelihoods times exp(t * wrong), which favours the g under which the verdicts are wrong, with the largest t that
stays within.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flatspot.stats.decide import Decisions, decide
from flatspot.stats.evidence import Evidence, Floats
from flatspot.stats.kinds import distinct
from flatspot.stats.models.binary import likelihood, state_table, two_ends
from flatspot.stats.models.npmle import likeliest
from flatspot.stats.posterior import ones_of, two_valued
from flatspot.stats.zones import Zones

_DROP = 1.921  # half the 95% point of chi-square, 1 degree of freedom
_SURE_DROP = 2 * _DROP  # where the limit decides when to stop: it is looked at many times, and few prompts make it less exact
_STEPS = 12
_TILTS = (0.5, 8.0)  # searched evenly in their logarithm; the first is divided by the root of the prompts, and so always within the drop
_MOST_KINDS = 20_000
_STRICTER, _LEAST = 0.8, 0.002  # how the mean error of the verdicts given falls at a time, and the least share of the target that is tried


def error_limit(
    evidence: Evidence, r_star: Floats, zones: Zones, given: Decisions, drop: float = _DROP, enough: Callable[[float], bool] | None = None
) -> float:
    """Upper limit (97.5%, one-sided) of the mean error of the verdicts given; NaN without one, and for other than two-valued rewards.

    drop    how far below its top the log likelihood may lie
    enough  whether so large a limit says all that is asked: the search ends there, at a value no larger than the limit

    Sets of more than 20,000 kinds of prompt, as many different r* make them, are judged by so many of them.

    >>> from flatspot.stats.decide import decide
    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.posterior import wrong_of
    >>> e = evidence_of_rows(np.repeat(np.arange(100), 8), np.repeat(np.r_[np.zeros(60), np.tile([0.0, 1.0], 20)], 8), 100)
    >>> found = decide(wrong_of(e, np.ones(100), Zones(0.05)), e.n, 0.05)
    >>> error_limit(e, np.ones(100), Zones(0.05), found) >= found.predicted_error
    True
    """
    some = evidence.n > 0
    if not (given.decided & some).any() or not two_valued(evidence, zones):
        return float("nan")
    assert evidence.support is not None
    enough = enough or _never
    if enough(given.predicted_error):
        return given.predicted_error
    verdict = np.where(given.decided, given.best, -1)
    columns, _, size = distinct(*(column[some] for column in (evidence.n, ones_of(evidence, zones), r_star, verdict)))
    kinds = np.stack(columns, -1)
    if len(kinds) > _MOST_KINDS:
        every = np.linspace(0, len(kinds) - 1, _MOST_KINDS).astype(np.int64)
        kinds, size = kinds[every], size[every]
    table = likelihood(kinds[:, 0].astype(np.int64), kinds[:, 1].astype(np.int64))
    best = kinds[:, 3].astype(np.int64)
    wrong = state_table(zones, *two_ends(evidence.support, zones), kinds[:, 2])[1]
    wrong = np.where(best[:, None] >= 0, wrong[np.arange(len(best)), :, best], 0.0)
    return max(given.predicted_error, _largest(table, wrong, size.astype(float), max(float(size[best >= 0].sum()), 1.0), drop, enough))


def too_doubtful(limit: float, target: float) -> bool:
    """Whether an error of up to `limit` is too far above the one that was stated: over three and a half times, and over 5 points.

    Below that, sets on which the fit is right are as often in doubt as sets on which it is not; at three times, triage would draw more than
    its benchmark allows on sets where the error is met without (benchmarks/triage, "no atoms").

    >>> too_doubtful(0.18, 0.05), too_doubtful(0.05, 0.01), too_doubtful(float("nan"), 0.05)
    (True, False, False)
    """
    return limit > 3.5 * target and limit - target > 0.05


def sure_limit(evidence: Evidence, r_star: Floats, zones: Zones, given: Decisions) -> float:
    """The `error_limit` that `sure` holds to the target."""
    return error_limit(evidence, r_star, zones, given, _SURE_DROP)


def in_doubt(evidence: Evidence, r_star: Floats, zones: Zones, given: Decisions, target: float, *, sure: bool) -> bool:
    """Whether the error of the verdicts given may be above the target (`sure`), or far above it (`too_doubtful`).

    What the limits say, found without looking for a larger one once one is too large.
    """

    def over(limit: float) -> bool:
        return limit > target if sure else too_doubtful(limit, target)

    return over(error_limit(evidence, r_star, zones, given, _SURE_DROP if sure else _DROP, over))


def given_verdicts(evidence: Evidence, r_star: Floats, zones: Zones, wrong: Floats, target: float, *, sure: bool) -> Decisions:
    """The verdicts of `decide`; with `sure`, as many of them as leave even the limit of their error at most `target`, maybe none.

    That limit lies at twice the drop of `error_limit`, since it is looked at again after every round.

    Where there is no limit, for other than two-valued rewards, `sure` changes nothing.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> from flatspot.stats.posterior import wrong_of
    >>> ones = np.r_[np.zeros(60, int), np.ones(10, int), np.full(30, 4)]  # of 8 rewards
    >>> rewards = (np.arange(8) < ones[:, None]).astype(float)
    >>> e, zones, r_star = evidence_of_rows(np.repeat(np.arange(100), 8), rewards.ravel(), 100), Zones(0.05), np.ones(100)
    >>> [int(given_verdicts(e, r_star, zones, wrong_of(e, r_star, zones), 0.05, sure=s).decided.sum()) for s in (False, True)]
    [100, 30]
    """
    found, mean = decide(wrong, evidence.n, target), target
    while sure and in_doubt(evidence, r_star, zones, found, target, sure=True):
        fewer = found
        while mean > _LEAST * target and fewer.decided.sum() == found.decided.sum():
            mean *= _STRICTER
            fewer = decide(wrong, evidence.n, mean)
        if mean <= _LEAST * target:
            return Decisions(found.best, found.error, np.zeros_like(found.decided))
        found = fewer
    return found


def _never(_: float) -> bool:
    return False


def _largest(table: Floats, wrong: Floats, size: Floats, n_given: float, drop: float, enough: Callable[[float], bool]) -> float:
    table = table / table.max(-1, keepdims=True)  # so that hundreds of samples do not underflow
    g = best = likeliest(table, size)
    most = float(size @ np.log(table @ best))
    found, low, high = _error(table, wrong, size, n_given, best), np.log(_TILTS[0] / np.sqrt(n_given)), np.log(_TILTS[1])
    for _ in range(_STEPS):
        if enough(found):
            break
        middle = (low + high) / 2
        tilted = likeliest(table * np.exp(np.exp(middle) * wrong), size, start=g)
        if most - float(size @ np.log(table @ tilted)) <= drop:
            low, g, found = middle, tilted, max(found, _error(table, wrong, size, n_given, tilted))
        else:
            high = middle
    return found


def _error(table: Floats, wrong: Floats, size: Floats, n_given: float, g: Floats) -> float:
    return float(size @ (((table * wrong) @ g) / (table @ g)) / n_given)
