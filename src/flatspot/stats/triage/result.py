"""What a triage found: the verdicts, what they cost, how sure they are, and what an RL run on these prompts would see."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.batches import forecast_of
from flatspot.stats.decide import Decisions
from flatspot.stats.evidence import Evidence, Floats, Ints, Tally
from flatspot.stats.forecast import Forecast
from flatspot.stats.models.binary import are_ends, two_ends
from flatspot.stats.models.worst_case import error_limit, given_verdicts
from flatspot.stats.posterior import Posterior, posterior
from flatspot.stats.triage.draws import Draws
from flatspot.stats.zones import STATES, Zones

_GROUP_SIZE = 8


@dataclass(frozen=True)
class Triage:
    """The answer, one entry per prompt where not said otherwise.

    verdict            [M] "learnable", "vanishing", "solved", "undecided" or "unscored"
    n_samples          [M] samples drawn
    error_probability  [M] probability that the verdict (or, if undecided, the one it leans to) is wrong; NaN where unscored
    leaning            [M] the least wrong state; "" where unscored
    predicted_error    mean error probability of the verdicts given; NaN where none is
    fractions          {state: (mean, lo, hi)} share of prompts like these in each state, 95%
    model              the kind of reward the verdicts rest on
    caveats            where the model does not fit, and what that does to the verdicts
    draws              everything drawn, in order; `.rewards` is the [M, draws] table
    evidence, zones    the same, reduced, and the thresholds it was judged by; r_star [M] what is achievable, given the decisions taken
    """

    verdict: NDArray[np.str_]
    n_samples: Ints
    error_probability: Floats
    leaning: NDArray[np.str_]
    predicted_error: float
    fractions: dict[str, tuple[float, float, float]]
    model: str
    caveats: tuple[str, ...]
    draws: Draws = field(repr=False)
    evidence: Evidence = field(repr=False)
    zones: Zones
    r_star: Floats = field(repr=False)
    given: Decisions = field(repr=False)
    posterior: Posterior = field(repr=False)

    @property
    def rewards(self) -> Floats:
        """[M, most samples of any prompt] every reward in the order drawn, NaN where there is none."""
        return self.draws.rewards

    @cached_property
    def error_limit(self) -> float:
        """The largest that predicted_error may be under a distribution that the samples allow as well; NaN where it is not known."""
        return error_limit(self.evidence, self.r_star, self.zones, self.given)

    def forecast(self, group_size: int | tuple[int, ...] = (4, 8, 16, 32)) -> Forecast:
        """Expected share of groups of this size (or these) that are not all equal, with a 90% interval."""
        sizes = (group_size,) if isinstance(group_size, int) else group_size
        return forecast_of(self.evidence, self.zones, sizes)


def conclude(
    draws: Draws,
    zones: Zones,
    target: float,
    *,
    r_star: Floats | None = None,
    sure: bool = False,
) -> Triage:
    """Judge everything drawn by the rule of `decide`; `sure` gives as many as leave even the limit of their error at most the target."""
    evidence = evidence_of_draws(draws, zones)
    r_star = np.full(draws.n_prompts, zones.hi) if r_star is None else r_star
    found = posterior(evidence, r_star, zones, _GROUP_SIZE)
    scored = draws.scored > 0
    given = given_verdicts(evidence, r_star, zones, found.wrong, target, sure=sure)
    leaning = np.array(STATES)[given.best]
    return Triage(
        verdict=np.where(~scored, "unscored", np.where(given.decided, leaning, "undecided")),
        n_samples=draws.drawn,
        error_probability=np.where(scored, given.error, np.nan),
        leaning=np.where(scored, leaning, ""),
        predicted_error=given.predicted_error,
        r_star=r_star,
        given=given,
        fractions={s: (float(f[0]), float(f[1]), float(f[2])) for s, f in zip(STATES, found.fractions, strict=True)},
        model=found.model,
        caveats=(*one_value_caveat(draws, zones), *found.misfit),
        draws=draws,
        evidence=evidence,
        zones=zones,
        posterior=found,
    )


def evidence_of_draws(draws: Draws, zones: Zones) -> Evidence:
    """What was drawn, reduced; of two values that are the ends of the range from counts alone, so that a million prompts are quick."""
    return evidence_of_pairs(draws, zones) if draws.two_valued and are_ends(draws.values, zones) else draws.evidence()


def evidence_of_pairs(draws: Draws, zones: Zones) -> Evidence:
    """The evidence of two-valued draws, from counts alone: no row is looked at, so a million prompts are quick."""
    if not draws.values:
        return draws.evidence()
    low, high = two_ends(draws.values, zones)
    n, hits = draws.scored, draws.hits(high)
    some = n > 0
    share = np.where(some, hits / np.maximum(n, 1), np.nan)
    std = np.where(n < 2, np.nan, np.sqrt(share * (1 - share) * n / np.maximum(n - 1, 1)) * (high - low))
    mostly_high = 2 * hits > n
    support = np.sort(np.array(draws.values))
    counts = np.stack([n - hits, hits], -1) if len(support) == 2 else n[:, None]
    at = np.flatnonzero(np.stack([n - hits, hits], -1).reshape(-1) > 0)  # prompt 0 low, prompt 0 high, prompt 1 low, …
    tally = Tally(at // 2, np.where(at % 2 == 1, high, low), np.stack([n - hits, hits], -1).reshape(-1)[at])
    return Evidence(
        n=n,
        mean=low + share * (high - low),
        std=std,
        low=np.where(some, np.where(hits < n, low, high), np.nan),
        high=np.where(some, np.where(hits > 0, high, low), np.nan),
        mode=np.where(some, np.where(mostly_high, high, low), np.nan),
        n_mode=np.where(mostly_high, hits, n - hits),
        tally=tally,
        support=support,
        counts=counts,
    )


def one_value_caveat(draws: Draws, zones: Zones) -> tuple[str, ...]:
    """A set in which every reward is equal, strictly inside the range: nothing says what the reward could have been."""
    if len(draws.values) != 1 or draws.values[0] in (zones.lo, zones.hi):
        return ()
    value = f"{draws.values[0]:g}"
    return (f"every reward is {value}, strictly inside the range: the reward may be broken, and no sample shows what else it can be",)
