"""The state of each prompt under a policy that changes: rewards of past updates count for less, and the data tell how much less.

A prompt's rewards enter as s ← λ^Δ s + Σ r, n ← λ^Δ n + K, Δ updates after its last visit. λ = 2^(−1/h); the half-life h is the one of
`HALF_LIVES` that predicted the mean of the next group with the least squared error so far.

No error is stated with these states: each is as of its prompt's last visit, and of a policy that has changed since nothing was measured. A
state that the rewards of late no longer bear out lapses to `UNDECIDED`, so that what is told is not of an older policy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.best_of import normal_gain
from flatspot.stats.models.binary import state_table
from flatspot.stats.models.npmle import fit_pairs, flat_prior, likelihood, weigh
from flatspot.stats.zones import STATES, Odds, Zones, typical_gain

HALF_LIVES: Final = (3.0, 10.0, 30.0, 100.0, 300.0, np.inf)
UNDECIDED: Final = -1
_LEAST_CHANCE = 0.8  # a prompt changes its state only on this probability, so that one unlucky group moves nothing
_MOST_LOSS = 0.2  # and it keeps its state no longer than this probability that the state is wrong beyond indifference
_FEWEST = 4  # discounted completions that a graded reward takes before its mean and std are believed
_MOST_FITTED = 512  # prompts that g is fitted to


class DiscountedStates:
    """The state of every prompt of a training, kept as groups come in. Prompts are numbered 0, 1, … as they first come."""

    def __init__(self) -> None:
        self.state: Ints = np.zeros(0, np.int64)
        self._settled: Ints = np.zeros(0, np.int64)  # [M] the last state that was no UNDECIDED
        self.last: Ints = np.zeros(0, np.int64)
        self.moments: Floats = np.zeros((5, len(HALF_LIVES), 0))  # n, Σ r, Σ r², groups, mixed groups
        self.error: Floats = np.zeros(len(HALF_LIVES))
        self.prior: Floats = flat_prior()
        self.moves: dict[tuple[int, int], int] = {}
        self._batches, self._next_fit = 0, 1

    @property
    def half_life(self) -> float:
        """The half-life, in updates, with the least error of prediction."""
        return HALF_LIVES[int(np.argmin(self.error))]

    def absorb(self, step: int, prompt: Ints, n: Ints, mean: Floats, std: Floats, *, binary: bool, zones: Zones) -> None:
        """Take in the groups of one batch, and judge their prompts anew.

        n, mean, std  [G] scored rewards of each group; those with none are left out
        binary        every reward of the run so far is an end of the range of `zones`
        """
        scored = n > 0
        prompt, n, mean, std = prompt[scored], n[scored], mean[scored], np.where(n[scored] > 1, std[scored], 0.0)
        if len(prompt) == 0:
            return
        self._grow(int(prompt.max()) + 1)
        visited, place = np.unique(prompt, return_inverse=True)
        age = np.maximum(step - self.last[visited], 0)
        past = self.moments[:, :, visited] * np.exp2(-age[None] / np.array(HALF_LIVES)[:, None])
        self._score(past, place.reshape(-1), n, mean)
        squares = std**2 * (n - 1) + n * mean**2
        sums = (n, n * mean, squares, np.ones(len(n)), std > 0)
        new = np.stack([np.bincount(place.reshape(-1), values, len(visited)) for values in sums])
        self.moments[:, :, visited] = past + new[:, None]
        self.last[visited] = step
        self._batches += 1
        if binary and self._batches >= self._next_fit:  # refitted ever more rarely: the more rewards, the less a batch changes
            self._next_fit = self._batches + min(50, self._batches)
            self._fit(zones)
        if binary:
            self._move(visited, *self._binary(visited, zones), _LEAST_CHANCE)
        else:
            states = self._graded(visited, zones)
            self._move(visited, states, np.zeros(states.shape), 0.5)

    def shares(self) -> Floats:
        """[3] share of the prompts in each state; what is undecided is in none."""
        return np.bincount(self.state[self.state >= 0], minlength=3)[:3] / max(len(self.state), 1)

    def moved(self) -> dict[str, int]:
        """How many prompts went from each state to each other one, as {"vanishing→learnable": 3}."""
        return {f"{STATES[a]}→{STATES[b]}": count for (a, b), count in sorted(self.moves.items())}

    def _grow(self, n_prompts: int) -> None:
        more = n_prompts - len(self.state)
        if more > 0:
            self.state = np.r_[self.state, np.full(more, UNDECIDED)]
            self._settled = np.r_[self._settled, np.full(more, UNDECIDED)]
            self.last = np.r_[self.last, np.zeros(more, np.int64)]
            self.moments = np.concatenate([self.moments, np.zeros((5, len(HALF_LIVES), more))], axis=-1)

    def _score(self, past: Floats, place: Ints, n: Ints, mean: Floats) -> None:
        count, total = past[0][:, place], past[1][:, place]
        pooled = float((n * mean).sum() / n.sum())
        prediction = (total + pooled) / (count + 1)
        self.error += np.where(count[-1] > 0, n * (mean - prediction) ** 2, 0.0).sum(-1)

    @property
    def _best(self) -> Floats:
        """[5, M] the moments at the best half-life."""
        return self.moments[:, int(np.argmin(self.error))]

    def _graded(self, prompts: Ints, zones: Zones) -> Floats:
        """[m, 3] one-hot state of these prompts by their discounted moments.

        The gain of the best of K is that of normal rewards with the same std, for a run keeps no more of them.
        """
        n, total, squares, groups, mixed = self._best
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / n
            gain = normal_gain(zones.group_size) * np.sqrt(np.maximum(squares / n - mean**2, 0.0) * n / np.maximum(n - 1, 1e-12))
        gain = np.where(mixed > 0, gain, 0.0)  # what rounding leaves of equal rewards
        scale = typical_gain(gain) if zones.scale is None else zones.scale
        headroom = zones.ceiling(np.full(len(prompts), np.nan)) - mean[prompts]
        states = zones.states(Odds(mixed[prompts] / groups[prompts], gain[prompts], headroom), scale)
        return np.asarray(np.where((n[prompts] >= _FEWEST)[:, None], states, 0.0))

    def _binary(self, prompts: Ints, zones: Zones) -> tuple[Floats, Floats]:
        """[m, 3] probability of each state of these prompts, and that it would be wrong beyond indifference."""
        n, total = self._best[:2, prompts]
        posterior, (states, loss) = weigh(self.prior, likelihood(n, _hits(n, total, zones))), _of_p(zones)
        return posterior @ states, posterior @ loss

    def _fit(self, zones: Zones) -> None:
        n, total = self._best[:2]
        some = np.flatnonzero(n > 0)
        some = some[:: -(-len(some) // _MOST_FITTED)]
        counts = np.stack([n[some], _hits(n[some], total[some], zones)], -1)
        pairs, size = np.unique(np.round(2 * counts) / 2, axis=0, return_counts=True)  # halves, not only whole numbers
        self.prior = fit_pairs(pairs[:, 0], pairs[:, 1], size)

    def _move(self, prompts: Ints, states: Floats, loss: Floats, least: float) -> None:
        believed, rows = states.max(-1) >= least, np.arange(len(prompts))
        now = np.where(believed, states.argmax(-1), self._settled[prompts])
        # a state of an older policy: what holds now is not known until one is believed
        lapsed = ~believed & ((self.state[prompts] == UNDECIDED) | (loss[rows, now] > _MOST_LOSS))
        for old, new in zip(self._settled[prompts].tolist(), now.tolist(), strict=True):
            if old != new and old != UNDECIDED:
                self.moves[old, new] = self.moves.get((old, new), 0) + 1
        self._settled[prompts] = now
        self.state[prompts] = np.where(lapsed, UNDECIDED, now)


def _hits(n: Floats, total: Floats, zones: Zones) -> Floats:
    """How many of n rewards were the high one, from their sum."""
    return np.asarray(np.clip((total - zones.lo * n) / zones.span, 0.0, n))


@lru_cache(maxsize=8)
def _of_p(zones: Zones) -> tuple[Floats, Floats]:
    """The states and the losses of a prompt at each success probability of the grid: two [163, 3] arrays."""
    return state_table(zones, zones.lo, zones.hi)
