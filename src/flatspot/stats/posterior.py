"""Route a set of prompts to the model that fits its kind of reward, and judge each prompt under it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.continuous import continuous
from flatspot.stats.evidence import Evidence, Floats, Ints
from flatspot.stats.few_valued import few_valued
from flatspot.stats.forecast import GROUP_SIZES, Forecast, forecast_from_prompts, forecast_two_valued, share_limits
from flatspot.stats.intervals import equal_rewards_std_upper, two_valued_std_interval
from flatspot.stats.two_valued import Mixture, fit_mixture, mixed_at, state_table, two_ends
from flatspot.stats.zones import Zones

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Posterior:
    """What the samples and the fitted model say of each prompt and of the set. NaN rows: prompts without a scored sample.

    model           "two-valued", "few-valued", "continuous" or "none"
    states          [M, 3] probability of vanishing, learnable, solved
    wrong           [M, 3] probability that each verdict would be wrong, beyond indifference
    std_lo, std_hi  [M] 95% limits of the std under the policy; they never meet
    mixed           [M] probability that a group of the planned size is not all equal
    fractions       [3, 3] share of the set in each state: mean, lo, hi (95%)
    forecast        informative groups at each group size
    """

    model: str
    states: Floats
    wrong: Floats
    std_lo: Floats
    std_hi: Floats
    mixed: Floats
    fractions: Floats
    forecast: Forecast


def posterior(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    """Judge every prompt of the set; r_star [M] is each prompt's achievable reward."""
    judged = evidence.n > 0
    if not judged.any():
        return _nothing(evidence.n_prompts)
    if evidence.support is not None and _are_ends(evidence.support, zones):
        part = _two_valued(_subset(evidence, judged), r_star[judged], zones, group_size)
    else:
        part = _many_valued(_subset(evidence, judged), r_star[judged], zones, group_size)
    spread_out = {
        f.name: _scatter(getattr(part, f.name), judged) for f in fields(part) if f.name in ("states", "wrong", "std_lo", "std_hi", "mixed")
    }
    return Posterior(model=part.model, fractions=part.fractions, forecast=part.forecast, **spread_out)


def _are_ends(support: Floats, zones: Zones) -> bool:
    """Whether the rewards seen are the ends of the range: a reward yet unseen, above or between them, would be a third value."""
    slack = 1e-6 * zones.span
    return len(support) <= 2 and bool(((np.abs(support - zones.lo) <= slack) | (np.abs(support - zones.hi) <= slack)).all())


def _two_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    assert evidence.support is not None
    assert evidence.counts is not None
    low, high = two_ends(evidence.support, zones)
    hits = evidence.counts[:, -1] if evidence.support[-1] == high else np.zeros(evidence.n_prompts, np.int64)
    mixture, pair = fit_mixture(evidence.n, hits)
    # prompts with equal (n, hits, r*) have equal answers
    kinds, kind, size = np.unique(np.c_[pair, r_star], axis=0, return_inverse=True, return_counts=True)
    kind_pair = kinds[:, 0].astype(np.int64)
    states, wrong = _under(mixture, kind_pair, kinds[:, 1], zones, low, high)
    mixed = mixture.posterior(np.arange(len(mixture.n))) @ mixed_at(group_size)
    std_lo, std_hi = two_valued_std_interval(hits, evidence.n)
    flat_hi = equal_rewards_std_upper(np.where(hits == 0, low, high), evidence.n, zones.lo, zones.hi)
    std_lo, std_hi = std_lo * (high - low), std_hi * (high - low)
    std_hi = np.where((hits == 0) | (hits == evidence.n), np.maximum(std_hi, flat_hi), std_hi)
    return Posterior(
        model="two-valued",
        states=states[kind.reshape(-1)],
        wrong=wrong[kind.reshape(-1)],
        std_lo=std_lo,
        std_hi=std_hi,
        mixed=mixed[pair],
        fractions=_fractions_two_valued(mixture, kind_pair, kinds[:, 1], size, zones, low, high),
        forecast=forecast_two_valued(mixture),
    )


def _under(mixture: Mixture, pair: Ints, r_star: Floats, zones: Zones, low: float, high: float) -> tuple[Floats, Floats]:
    """States and wrong verdicts [R, 3] of each (pair, r*), block by block to bound memory."""
    states, wrong = np.empty((len(pair), 3)), np.empty((len(pair), 3))
    for start in range(0, len(pair), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        weights = mixture.posterior(pair[block])
        state, wrongs = state_table(zones, low, high, r_star[block])
        states[block] = np.einsum("rk,rks->rs", weights, state)
        wrong[block] = np.einsum("rk,rks->rs", weights, wrongs)
    return states, wrong


def _fractions_two_valued(
    mixture: Mixture, pair: Ints, r_star: Floats, size: Ints, zones: Zones, low: float, high: float, *, draws: int = 200
) -> Floats:
    """Share of prompts like these in each state: the fit's uncertainty, each prompt's own, and that of having only M of them."""
    rng = np.random.default_rng(0)
    central = size @ _under(mixture, pair, r_star, zones, low, high)[0] / size.sum()
    shares = np.empty((draws, 3))
    for i, weights in enumerate(mixture.resampled(draws, rng)):
        redrawn = Mixture(weights, mixture.n, mixture.hits, mixture.size, np.broadcast_to(weights, mixture.judging.shape))
        probabilities = _under(redrawn, pair, r_star, zones, low, high)[0]
        probabilities = np.maximum(probabilities, 0) / np.maximum(probabilities, 0).sum(-1, keepdims=True)
        shares[i] = rng.multinomial(size, probabilities).sum(0) / size.sum()
    return share_limits(central, shares, int(size.sum()), rng)


def _many_valued(evidence: Evidence, r_star: Floats, zones: Zones, group_size: int) -> Posterior:
    sizes = (*GROUP_SIZES, group_size)
    if evidence.support is not None and evidence.counts is not None:
        model, spread = "few-valued", few_valued(evidence.support, evidence.counts, r_star, zones, sizes)
    else:
        model, spread = "continuous", continuous(evidence, r_star, zones, sizes)
    flat = evidence.n_mode == evidence.n
    upper = equal_rewards_std_upper(evidence.mode, evidence.n, zones.lo, zones.hi)
    rng = np.random.default_rng(0)
    return Posterior(
        model=model,
        states=spread.states,
        wrong=spread.wrong,
        std_lo=np.where(flat, 0.0, np.fmin(spread.std_lo, evidence.std)),
        std_hi=np.where(flat, upper, np.fmax(spread.std_hi, evidence.std)),
        mixed=1 - spread.all_equal[:, -1],
        fractions=fractions_of(spread.states, rng),
        forecast=forecast_from_prompts(1 - spread.all_equal[:, :-1], rng),
    )


def fractions_of(states: Floats, rng: np.random.Generator, *, draws: int = 200) -> Floats:
    """[3, 3] share of prompts like these in each state, from each prompt's own probabilities [M, 3]."""
    kinds, size = np.unique(states.round(3), axis=0, return_counts=True)
    kinds = np.maximum(kinds, 0) / np.maximum(kinds, 0).sum(-1, keepdims=True)
    shares = np.stack([rng.multinomial(size, kinds).sum(0) for _ in range(draws)]) / len(states)
    return share_limits(states.mean(0), shares, len(states), rng)


def _nothing(n_prompts: int) -> Posterior:
    nan = np.full(n_prompts, np.nan)
    unknown = np.tile([np.nan, 0.0, 1.0], (3, 1))
    return Posterior("none", np.full((n_prompts, 3), np.nan), np.full((n_prompts, 3), np.nan), nan, nan, nan, unknown, Forecast.unknown())


def _subset(evidence: Evidence, rows: NDArray[np.bool_]) -> Evidence:
    counts = None if evidence.counts is None else evidence.counts[rows]
    per_prompt = {f.name: getattr(evidence, f.name)[rows] for f in fields(evidence) if f.name not in ("support", "counts")}
    return Evidence(**per_prompt, support=evidence.support, counts=counts)


def _scatter(values: Floats, rows: NDArray[np.bool_]) -> Floats:
    full = np.full((len(rows), *values.shape[1:]), np.nan)
    full[rows] = values
    return full
