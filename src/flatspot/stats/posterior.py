"""Route a set of prompts to the model that fits its kind of reward, and judge each prompt under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.forecast import GROUP_SIZES, REFITS, Forecast, fractions_of, mixture_shares, prompt_shares, share_limits
from flatspot.stats.intervals import equal_rewards_std_upper, two_valued_std_interval
from flatspot.stats.kinds import distinct
from flatspot.stats.models.binary import Mixture, are_ends, fit_mixture, likelihood, mixed_at, state_table, two_ends, weighed
from flatspot.stats.models.graded import many_valued, misfits
from flatspot.stats.models.identified_set import mean_bounds, too_few
from flatspot.stats.zones import Zones

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Posterior:
    """What the samples and the fitted model say of each prompt and of the set. NaN rows: prompts without a scored sample.

    model           "two-valued", "few-valued", "continuous", "zero-inflated", "mixed", "binned" or "none"
    states          [M, 3] probability of vanishing, learnable, solved
    wrong           [M, 3] probability that each verdict would be wrong, beyond indifference
    std_lo, std_hi  [M] 95% limits of the std under the policy, and never past the std seen; they never meet
    mixed           [M] probability that a group of the planned size is not all equal
    fractions       [3, 3] share of the set in each state: mean, lo, hi (95%)
    forecasting     finds `forecast`, which takes longer than all the rest and is not asked for by all
    misfit          where the model and the rewards disagree, in sentences
    """

    model: str
    states: Floats
    wrong: Floats
    std_lo: Floats
    std_hi: Floats
    mixed: Floats
    fractions: Floats
    forecasting: Callable[[], Forecast] = field(repr=False, compare=False)
    misfit: tuple[str, ...] = ()

    @cached_property
    def forecast(self) -> Forecast:
        """Informative groups at each group size."""
        return self.forecasting()


def posterior(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    """Judge every prompt of the set; r_star [M] is each prompt's achievable reward."""
    judged = evidence.n > 0
    if not judged.any():
        return _nothing(evidence.n_prompts)
    route = _two_valued if two_valued(evidence, zones) else _many_valued
    part = route(evidence.subset(judged), r_star[judged], zones, group_size)
    spread_out = {
        f.name: _scatter(getattr(part, f.name), judged) for f in fields(part) if f.name in ("states", "wrong", "std_lo", "std_hi", "mixed")
    }
    return Posterior(model=part.model, fractions=part.fractions, forecasting=part.forecasting, misfit=part.misfit, **spread_out)


def wrong_of(evidence: Evidence, r_star: Floats, zones: Zones) -> Floats:
    """[M, 3] the `wrong` of `posterior` alone, for deciding whom to draw again; 1 without a scored sample."""
    wrong = np.ones((evidence.n_prompts, 3))
    judged = evidence.n > 0
    if not judged.any():
        return wrong
    some = evidence.subset(judged)
    if not two_valued(some, zones):
        wrong[judged] = many_valued(some, r_star[judged], zones, ()).wrong
        return wrong
    assert some.support is not None
    mixture, pair = fit_mixture(some.n, ones_of(some, zones))
    (kind_pair, kind_r_star), kind, _ = distinct(pair, r_star[judged])
    wrong[judged] = _under(mixture, kind_pair, kind_r_star, zones, *two_ends(some.support, zones))[1][kind]
    return wrong


def two_valued(evidence: Evidence, zones: Zones) -> bool:
    """Whether the rewards seen are the ends of the range: a reward yet unseen, above or between them, would be a third value."""
    return evidence.support is not None and are_ends(evidence.support, zones)


def ones_of(evidence: Evidence, zones: Zones) -> Ints:
    """[M] how many rewards of each prompt are the high one, in two-valued evidence."""
    assert evidence.support is not None
    assert evidence.counts is not None
    high = two_ends(evidence.support, zones)[1]
    return evidence.counts[:, -1] if evidence.support[-1] == high else np.zeros(evidence.n_prompts, np.int64)


def _two_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    assert evidence.support is not None
    low, high = two_ends(evidence.support, zones)
    hits = ones_of(evidence, zones)
    mixture, pair = fit_mixture(evidence.n, hits)
    # prompts with equal (n, hits, r*) have equal answers
    (kind_pair, kind_r_star), kind, size = distinct(pair, r_star)
    states, wrong = _under(mixture, kind_pair, kind_r_star, zones, low, high)
    mixed = mixture.posterior(np.arange(len(mixture.n))) @ mixed_at(group_size)
    std_lo, std_hi = two_valued_std_interval(hits, evidence.n)
    flat_hi = equal_rewards_std_upper(np.where(hits == 0, low, high), evidence.n, zones.lo, zones.hi)
    std_lo, std_hi = std_lo * (high - low), std_hi * (high - low)
    std_hi = np.where((hits == 0) | (hits == evidence.n), np.maximum(std_hi, flat_hi), std_hi)
    refits = mixture.resampled(REFITS, np.random.default_rng(0))
    fractions = _fractions_two_valued(mixture, refits, kind_pair, kind_r_star, size, zones, low, high)
    few = too_few(evidence.n)
    if few:
        in_state = np.einsum("r,rks->sk", size / size.sum(), state_table(zones, low, high, kind_r_star)[0])
        fractions = widened(fractions, mixture, in_state, level=0.95)
    return Posterior(
        model="two-valued",
        states=states[kind],
        wrong=wrong[kind],
        std_lo=np.fmin(std_lo, evidence.std),
        std_hi=np.fmax(std_hi, evidence.std),
        mixed=mixed[pair],
        fractions=fractions,
        forecasting=partial(_forecast_two_valued, mixture, few),
    )


def _forecast_two_valued(mixture: Mixture, few: bool) -> Forecast:
    found = Forecast.of_shares(GROUP_SIZES, *mixture_shares(mixture, GROUP_SIZES))
    if not few:
        return found
    return Forecast(GROUP_SIZES, widened(found.informative, mixture, np.stack([mixed_at(k) for k in GROUP_SIZES]), level=0.9))


def widened(limits: Floats, mixture: Mixture, functions: Floats, *, level: float) -> Floats:
    """Limits [F, 3] (mean, lo, hi) of the mean of functions [F, 163] of p, taken out to all that the counts do not rule out."""
    bounds = mean_bounds(mixture.n, mixture.hits, mixture.size, functions, level=level)
    return np.stack([limits[:, 0], np.minimum(limits[:, 1], bounds[:, 0]), np.maximum(limits[:, 2], bounds[:, 1])], -1)


def _blocks(
    mixture: Mixture, pair: Ints, r_star: Floats, zones: Zones, low: float, high: float
) -> Iterator[tuple[slice, Floats, Floats, Floats]]:
    """What g is weighed with: the likelihoods, states and wrong verdicts of each (pair, r*), block by block to bound memory."""
    for start in range(0, len(pair), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        table = likelihood(mixture.n[pair[block]], mixture.hits[pair[block]])
        yield (block, table, *state_table(zones, low, high, r_star[block]))


def _under(mixture: Mixture, pair: Ints, r_star: Floats, zones: Zones, low: float, high: float) -> tuple[Floats, Floats]:
    """States and wrong verdicts [R, 3] of each (pair, r*)."""
    states, wrong = np.empty((len(pair), 3)), np.empty((len(pair), 3))
    for block, table, state, wrongs in _blocks(mixture, pair, r_star, zones, low, high):
        weights = weighed(mixture.judging[pair[block]], table)
        states[block] = np.einsum("rk,rks->rs", weights, state)
        wrong[block] = np.einsum("rk,rks->rs", weights, wrongs)
    return states, wrong


def _fractions_two_valued(
    mixture: Mixture, refits: Floats, pair: Ints, r_star: Floats, size: Ints, zones: Zones, low: float, high: float, *, draws: int = 200
) -> Floats:
    """Share of prompts like these in each state: the fit's uncertainty, each prompt's own, and that of having only M of them."""
    rng = np.random.default_rng(0)
    central = size @ _under(mixture, pair, r_star, zones, low, high)[0] / size.sum()
    shares = np.empty((draws, 3))
    blocks = partial(_blocks, mixture, pair, r_star, zones, low, high)
    once = list(blocks()) if len(pair) <= _ROWS_AT_ONCE else None  # one block is kept, for all the refits
    probabilities = np.empty((len(pair), 3))
    for i, weights in enumerate(refits[:draws]):
        for block, table, state, _ in once or blocks():
            probabilities[block] = np.einsum("rk,rks->rs", weighed(weights, table), state)
        positive = np.maximum(probabilities, 0)
        shares[i] = rng.multinomial(size, positive / positive.sum(-1, keepdims=True)).sum(0) / size.sum()
    return share_limits(central, shares, int(size.sum()), rng)


def _many_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    spread = many_valued(evidence, r_star, zones, (*GROUP_SIZES, group_size))
    flat = evidence.n_mode == evidence.n
    upper = equal_rewards_std_upper(evidence.mode, evidence.n, zones.lo, zones.hi)
    rng = np.random.default_rng(0)
    fractions = fractions_of(spread.states, rng)
    forecast = Forecast.of_shares(GROUP_SIZES, *prompt_shares(1 - spread.all_equal[:, :-1], REFITS, rng))
    if np.median(evidence.n) < 2:  # one reward a prompt shows no spread at all
        fractions[:, 1:] = (0.0, 1.0)
        forecast.informative[:, 1:] = (0.0, 1.0)
    return Posterior(
        model=spread.parts.family,
        states=spread.states,
        wrong=spread.wrong,
        std_lo=np.where(flat, 0.0, np.fmin(spread.std_lo, evidence.std)),
        std_hi=np.where(flat, upper, np.fmax(spread.std_hi, evidence.std)),
        mixed=1 - spread.all_equal[:, -1],
        fractions=fractions,
        forecasting=partial(_as_it_is, forecast),
        misfit=misfits(spread.parts),
    )


def _as_it_is(found: Forecast) -> Forecast:
    return found


def _nothing(n_prompts: int) -> Posterior:
    nan = np.full(n_prompts, np.nan)
    unknown = np.tile([np.nan, 0.0, 1.0], (3, 1))
    return Posterior("none", np.full((n_prompts, 3), np.nan), np.full((n_prompts, 3), np.nan), nan, nan, nan, unknown, Forecast.unknown)


def _scatter(values: Floats, rows: NDArray[np.bool_]) -> Floats:
    full = np.full((len(rows), *values.shape[1:]), np.nan)
    full[rows] = values
    return full
