"""What triage answers: the verdicts, what they cost, how likely they are wrong, and what an RL run on these prompts would see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.decide import Decisions, rests_on_fit, shapes_in_doubt
from flatspot.stats.evidence import Evidence, Floats, Ints, Tally
from flatspot.stats.forecast import GROUP_SIZES, Forecast, forecast_of
from flatspot.stats.intervals import moved_together
from flatspot.stats.models.binary import are_ends, two_ends
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.triage.draws import Draws
from flatspot.stats.zones import STATES, Zones


@dataclass(frozen=True, eq=False, repr=False)
class Triage:
    """The answer, one entry per prompt where not said otherwise.

    draws      everything sampled, in order; `.rewards` is the [M, completions] table
    zones      the thresholds it was judged by
    fitted     the model fitted to all of it
    decisions  which verdicts are given
    held       whether their worst-case error was held to the target
    """

    draws: Draws
    zones: Zones
    fitted: FittedModel
    decisions: Decisions
    held: bool = False

    @property
    def verdict(self) -> NDArray[np.str_]:
        """[M] "learnable", "vanishing", "solved", "undecided" or "unscored"."""
        return self.decisions.verdict

    @property
    def leaning(self) -> NDArray[np.str_]:
        """[M] the least wrong state; "" where unscored."""
        return self.decisions.leaning

    @property
    def error_probability(self) -> Floats:
        """[M] probability that the verdict (or, if undecided, the one it leans to) is wrong; NaN where unscored."""
        return self.decisions.error_probability

    @property
    def predicted_error(self) -> float:
        """Mean error probability of the verdicts given; NaN where none is."""
        return self.decisions.predicted_error

    @cached_property
    def worst_case_error(self) -> float:
        """The largest share of the verdicts that may be wrong under a distribution that the completions allow as well; NaN: not known."""
        return self.fitted.worst_case_error(self.decisions.state, realized=True)

    @property
    def n_samples(self) -> Ints:
        """[M] completions."""
        return self.draws.drawn

    @property
    def rewards(self) -> Floats:
        """[M, most completions of any prompt] every reward in the order sampled, NaN where there is none."""
        return self.draws.rewards

    @cached_property
    def fractions(self) -> dict[str, tuple[float, float, float]]:
        """{state: (mean, lo, hi)} share of prompts like these in each state, 95%."""
        return {state: (float(f[0]), float(f[1]), float(f[2])) for state, f in zip(STATES, self.fitted.shares, strict=True)}

    @property
    def model(self) -> str:
        """The kind of reward that the verdicts rest on: `FittedModel.family`."""
        return self.fitted.family

    @property
    def caveats(self) -> tuple[str, ...]:
        """Where the model does not fit, or the verdicts rest on it, and what that does to them."""
        no_limit = ("worst_case has no limit on the error of continuous rewards: the verdicts are as without it, at a mean error",)
        return (
            *one_value_caveat(self.draws, self.zones),
            *self.fitted.misfit,
            *(no_limit if self.decisions.no_limit else ()),
            *self._caveats_of_fit,
        )

    @property
    def _caveats_of_fit(self) -> tuple[str, ...]:
        predicted, error = self.predicted_error, self.decisions.error[self.decisions.decided]
        if self.model not in ("binary", "few-valued") and shapes_in_doubt(error):
            most = f"{100 * moved_together(error):.1f}%"
            return (
                f"where the shapes of the rewards are off, {most} of the verdicts may be wrong, not the predicted {100 * predicted:.1f}%",
            )
        if self.held or not rests_on_fit(self.worst_case_error, predicted, len(error)):
            return ()
        expected, most = (f"{100 * share:.1f}%" for share in (predicted, self.worst_case_error))
        return (
            f"the predicted error, {expected} of the verdicts, rests on the fit: these completions do not rule out {most} (97.5% limit), "
            "as where many prompts lie right at a threshold; worst_case=True draws more there",
        )

    def forecast(self, group_size: int | tuple[int, ...] = GROUP_SIZES) -> Forecast:
        """Expected share of groups of this size (or these) that are not all equal, with a 90% interval."""
        return forecast_of(self.fitted, (group_size,) if isinstance(group_size, int) else group_size)

    def __repr__(self) -> str:
        names, counts = np.unique(self.verdict, return_counts=True)
        parts = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        return f"<Triage of {self.draws.n_prompts} prompts: {parts}>"


def evidence_of_draws(draws: Draws, zones: Zones) -> Evidence:
    """What was drawn, reduced; of binary rewards from counts alone, so that a million prompts are quick."""
    return evidence_of_pairs(draws, zones) if draws.binary and are_ends(draws.values, zones) else draws.evidence()


def evidence_of_pairs(draws: Draws, zones: Zones) -> Evidence:
    """The evidence of binary draws, from counts alone: no row is looked at, so a million prompts are quick."""
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
    return (f"every reward is {value}, strictly inside the range: the reward may be broken, and no completion shows what else it can be",)
