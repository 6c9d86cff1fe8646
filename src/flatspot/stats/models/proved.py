"""A fitted model held to what the known mass of the completions proves: no verdict may contradict it, and a proved one has no error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.first_draws import FirstDraws
from flatspot.stats.intervals import REFITS, around
from flatspot.stats.known_mass import Bounds, KnownMass, bounds
from flatspot.stats.models.edges import states_and_losses
from flatspot.stats.models.fitted import FittedModel
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.limits import Limits
from flatspot.stats.models.represented import MOST_FITTED
from flatspot.stats.models.unseen_binary import FEWEST_KNOWN, NewDraws
from flatspot.stats.models.unseen_graded import Unseen, evidence_of_new
from flatspot.stats.models.worst_case import DROP, Enough
from flatspot.stats.zones import Odds, Zones, gain_of, mixed_of

_AT_ONCE = 20_000  # prompts
_SLACK = 1e-6  # of the range: a reward this far outside of it is rounded


@dataclass(frozen=True, eq=False)
class Proof:
    """What the known mass of M prompts proves of their verdicts.

    ceiling  [M] what r* cannot pass
    zones    of a range that is stated: the unseen mass has no other rewards
    r_star   [M] what is achievable, NaN where that is not known
    """

    known: KnownMass
    ceiling: Floats
    zones: Zones
    r_star: Floats

    @property
    def holds(self) -> NDArray[np.bool_]:
        """[M] whether some verdict cannot be wrong beyond indifference, wherever the unseen mass may lie."""
        return np.asarray(self.loss[1].min(-1) == 0)

    @cached_property
    def loss(self) -> tuple[Floats, Floats]:
        """[M, 3] twice: the least and the most that each verdict's loss can be.

        All three are monotone: vanishing is wrong the sooner, the clearer the signal and the less is left; learnable, the fainter the
        signal; solved, the clearer the signal and the more is left.
        """
        faint_low, faint_high, clear_low, clear_high = (self.zones.loss(odds, self.zones.span) for odds in self._corners)
        least = np.stack([faint_high[:, 0], clear_low[:, 1], faint_low[:, 2]], -1)
        most = np.stack([clear_low[:, 0], faint_low[:, 1], clear_high[:, 2]], -1)
        return least, most

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """[M, 3] whether a prompt can be in a state at all: each is attained at a corner, if anywhere."""
        faint_low, faint_high, clear_low, _ = (self.zones.states(odds, self.zones.span) > 0 for odds in self._corners)
        return np.stack([faint_high[:, 0], clear_low[:, 1], faint_low[:, 2]], -1)

    def bounds(self, group_size: int) -> Bounds:
        """What every number of a prompt can be, for groups of K."""
        return self._own if group_size == self.zones.group_size else bounds(self.known, self.zones.lo, self.zones.hi, group_size)

    @cached_property
    def _own(self) -> Bounds:
        return bounds(self.known, self.zones.lo, self.zones.hi, self.zones.group_size)

    @property
    def _corners(self) -> tuple[Odds, Odds, Odds, Odds]:
        """Least and most of a signal, each with least and most headroom."""
        mixed, gain, headroom = self._own.mixed.T, self._own.gain.T, (self.ceiling[:, None] - self._own.mean[:, ::-1]).T
        faintest, clearest = ([Odds(mixed[i], gain[i], headroom[j]) for j in (0, 1)] for i in (0, 1))
        return faintest[0], faintest[1], clearest[0], clearest[1]


def proof_of(known: KnownMass | None, r_star: Floats, zones: Zones, *, binary: bool) -> Proof | None:
    """What the known mass proves; None where there is none, or it is not sound, or the range is none or only what was seen.

    r_star  [M] what is achievable, NaN where that is not known; of binary rewards, the end of the range
    """
    if known is None or not known.sound or not zones.stated or len(known.prompt) == 0:
        return None
    slack = _SLACK * zones.span
    if known.reward.min() < zones.lo - slack or known.reward.max() > zones.hi + slack:
        return None  # then what nobody has seen may lie outside, too
    return Proof(known, np.full(known.n_prompts, zones.hi) if binary else zones.ceiling(r_star), zones, r_star)


def hold_to_proof(model: FittedModel, proof: Proof | None) -> FittedModel:
    """The model, held to a proof where there is one."""
    return model if proof is None or model.family == "none" else ProvedModel(model, proof)


@dataclass(frozen=True, eq=False)
class ProvedModel:
    """A model whose probabilities are cut to what is proved: see `FittedModel`. Limits for prompts like these stay those of the fit."""

    part: FittedModel
    proof: Proof

    @property
    def proved(self) -> NDArray[np.bool_]:
        """[M] whether some verdict cannot be wrong."""
        return self.proof.holds & (self.n > 0)

    @property
    def family(self) -> str:
        """That of the fit."""
        return self.part.family

    @property
    def misfit(self) -> tuple[str, ...]:
        """That of the fit."""
        return self.part.misfit

    @property
    def n(self) -> Ints:
        """[M] completions with a reward."""
        return self.part.n

    @property
    def states(self) -> Floats:
        """[M, 3] probability of each state; 0 of those that are ruled out."""
        possible = self.proof.possible
        left = self._by_new(self.part.states, lambda p: self._judged_at(p)[0], lambda of_new: of_new.states) * possible
        total = left.sum(-1, keepdims=True)
        even = possible / np.maximum(possible.sum(-1, keepdims=True), 1)
        return np.where(np.isnan(total), np.nan, np.where(total > 0, left / np.where(total > 0, total, 1.0), even))

    @property
    def loss(self) -> Floats:
        """[M, 3] probability that each verdict would be wrong beyond indifference; 0 or 1 where that is proved."""
        return np.clip(self._by_new(self.part.loss, lambda p: self._judged_at(p)[1], lambda of_new: of_new.loss), *self.proof.loss)

    @property
    def std_limits(self) -> Floats:
        """Those of the fit."""
        return self.part.std_limits

    @property
    def limits(self) -> Limits:
        """Those of the fit."""
        return self.part.limits

    @property
    def scale(self) -> float:
        """That of the fit."""
        return self.part.scale

    @property
    def shares(self) -> Floats:
        """[3, 3] mean of `states` over these prompts, and the limits of the fit, taken out to it."""
        return around(np.nanmean(self.states, 0), self.part.shares)

    def set_limits(self, state: int, level: float = 0.95) -> tuple[float, float]:
        """Those of the fit, within what is proved: no fewer than the prompts that surely may be called so, or more than surely must."""
        lo, hi = self.part.set_limits(state, level)
        right = self.proof.loss[1] == 0  # verdicts that cannot be wrong
        may, need_not = right[:, state], np.delete(right, state, 1).any(1)
        return max(lo, float(may.mean())), min(hi, 1 - float(need_not.mean()))

    def mixed(self, group_size: int) -> Floats:
        """[M] probability that a group is mixed, within its bounds."""
        mixed = self._by_new(self.part.mixed(group_size), lambda p: mixed_of(p, group_size), lambda of_new: of_new.mixed(group_size))
        return np.clip(mixed, *self.proof.bounds(group_size).mixed.T)

    def pass_at(self, group_size: int) -> tuple[Floats, Floats]:
        """[M] mean and variance of pass@K."""
        mean, variance = self.part.pass_at(group_size)
        first = self._by_new(mean, lambda p: 1 - (1 - p) ** group_size, lambda of_new: of_new.pass_at(group_size)[0])
        square = variance + mean**2
        second = self._by_new(square, lambda p: (1 - (1 - p) ** group_size) ** 2, lambda of_new: _square(*of_new.pass_at(group_size)))
        return first, np.maximum(second - first**2, 0.0)

    def best_of(self, group_size: int) -> Floats:
        """[M] gain of the best of K, within its bounds."""
        zones = self.proof.zones
        of_fit = self.part.best_of(group_size)
        gain = self._by_new(of_fit, lambda p: zones.span * gain_of(p, group_size), lambda of_new: of_new.best_of(group_size))
        return np.clip(gain, *self.proof.bounds(group_size).gain.T)

    def forecast(self, sizes: Sequence[int]) -> Floats:
        """[S, 3] mean of `mixed` over these prompts, and the limits of the fit, taken out to it."""
        return around(self._mean_mixed(sizes), self.part.forecast(sizes))

    def mixed_shares(self, sizes: Sequence[int], draws: int = REFITS) -> tuple[Floats, Floats]:
        """The same mean, and the draws of the fit."""
        return self._mean_mixed(sizes), self.part.mixed_shares(sizes, draws)[1]

    @cached_property
    def _known_rows(self) -> Ints:
        """The prompts whose known mass is not small, and whose new draws are known."""
        rows = np.flatnonzero((self.proof.known.total >= FEWEST_KNOWN) & (self.n > 0))
        return rows[:0] if self.proof.known.firsts is None else rows

    @property
    def _firsts(self) -> FirstDraws:
        if self.proof.known.firsts is None:
            raise ValueError("the order of the draws is not known")
        return self.proof.known.firsts

    @cached_property
    def _new_draws(self) -> NewDraws:
        """What the new draws of binary prompts tell."""
        return NewDraws.of(self._firsts, self.proof.zones.lo, self.proof.zones.hi)

    @cached_property
    def _of_new(self) -> GradedModel | None:
        """The model of the new draws of all graded prompts; None where there are too many to fit."""
        known, evidence = self.proof.known, evidence_of_new(self._firsts)
        if evidence.support is None and evidence.n_prompts > MOST_FITTED:
            return None
        return GradedModel.fit(evidence, self.proof.r_star, self.proof.zones, unseen=Unseen.of(known, self._firsts))

    def _by_new(self, of_fit: Floats, of_p: Callable[[Floats], Floats], of_graded: Callable[[GradedModel], Floats]) -> Floats:
        """[M, …] what the fit says; of prompts whose known mass is not small, what their new draws do.

        of_p  of binary prompts, at each p: its mean over those that are left, block by block to bound memory
        """
        every = self._known_rows
        if len(every) == 0:
            return of_fit
        values = np.array(of_fit)
        if self.family != "binary":
            if self._of_new is not None:
                values[every] = of_graded(self._of_new)[every]
            return values
        for start in range(0, len(every), _AT_ONCE):
            rows = every[start : start + _AT_ONCE]
            left = self._new_draws.open_share(rows)
            values[rows] = left.expect(of_p(left.p))
        return values

    def _judged_at(self, p: Floats) -> tuple[Floats, Floats]:
        return states_and_losses(p, self.proof.zones, self.proof.zones.lo, self.proof.zones.hi)

    def _mean_mixed(self, sizes: Sequence[int]) -> Floats:
        return np.array([np.nanmean(self.mixed(k)) for k in sizes])

    def worst_case_error(self, verdict: Ints, drop: float = DROP, enough: Enough | None = None, *, realized: bool = False) -> float:
        """The worst case of the verdicts that are not proved, over all of them."""
        given, doubtful = verdict >= 0, (verdict >= 0) & ~self.proved
        if given.any() and not doubtful.any():
            return 0.0
        share = doubtful.sum() / max(given.sum(), 1)
        within = None if enough is None else lambda limit: enough(limit * share)
        return float(share * self.part.worst_case_error(np.where(doubtful, verdict, -1), drop, within, realized=realized))


def _square(mean: Floats, variance: Floats) -> Floats:
    return mean**2 + variance
