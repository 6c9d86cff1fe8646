"""Estimates from the completions that were new when they were drawn: a completion that is drawn again says nothing that is not known.

A prompt's draws are i.i.d. with mean mu, its rewards in [0, 1]. Before draw i the distinct completions so far have the probability M and
earn C = sum p r of it, so with u = 1 - M the draw is new with probability u, and if it is new its reward has the mean q = (mu - C) / u,
whatever was drawn before and however it was decided to draw once more. Hence

    X_i = C + u b_i + [new] (r_i - b_i)      has the mean mu given the past, whatever b_i was guessed of q before
    mean    sum_i X_i / u_i over sum_i 1 / u_i, taken into [C, C + u] as it ends: later draws, which leave less open, count for more

with b_i the mean of what the prompt's new draws had earned so far, and of `_OTHERS` more that earned what those of the other prompts did,
each one's first draw left out: what is rarely written mostly fails under one reward, and mostly passes under another.

    limits  {m : K+(m) + K-(m) < 2 / alpha},     K+-(m) = prod_j (1 +- l_j (r_j - q_j(m)))

j over the new draws, q_j(m) = (m - C_j) / u_j. K+ and K- are what bettors own who stake the share l_j >= 0 of it on more, or on less,
than q_j, at stakes that the draws before decide (hedged capital, Waudby-Smith and Ramdas 2024). At m = mu their mean is 1 whatever
decides when to stop, so that mu is excluded, at whatever time, with probability alpha at most (Ville).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints

_LEAST = 1e-12  # of the unseen mass: below it nothing is open
_TINY = 1e-9  # of a q: at 0 and 1 a single draw would decide
_MOST_STAKED = 0.75  # of what a bettor owns
_GRID: Floats = np.linspace(0, 1, 129)
_AT_ONCE = 20_000  # new draws, to bound memory
_OTHERS = 4.0  # new draws
_OF_SET, _LEAST_ALIKE, _MOST_ALIKE = 1.0, 1e-4, 0.999


@dataclass(frozen=True)
class FirstDraws:
    """The draws that were new, of M prompts: by prompt, and within it in the order drawn.

    prompt  [D] index of the prompt
    reward  [D]
    mass    [D] probability of the completion, or less
    rank    [D] its place among the prompt's draws that count, from 0
    n       [M] how many draws count
    """

    prompt: Ints
    reward: Floats
    mass: Floats
    rank: Ints
    n: Ints

    @property
    def alike(self) -> Floats:
        """[M] the probability that two draws of what is unseen are the same completion: l = sum v_k^2, v_k their shares of the unseen mass.

        Before it is known, a completion of probability p is drawn with p / u, so p_j / u_j of the new draws have the mean l: that of the
        prompt's, with one more of the set's.
        """
        share = np.clip(self.mass / self.within(0.0, 1.0).unseen, 0.0, 1.0)
        total, n = np.bincount(self.prompt, share, len(self.n)), np.bincount(self.prompt, minlength=len(self.n))
        of_set = share.mean() if len(share) else 0.5
        return np.clip((total + _OF_SET * of_set) / (n + _OF_SET), _LEAST_ALIKE, _MOST_ALIKE)

    def subset(self, rows: NDArray[np.bool_]) -> FirstDraws:
        """The prompts that `rows` [M] marks."""
        own = rows[self.prompt]
        place = np.cumsum(rows) - 1
        return FirstDraws(place[self.prompt[own]], self.reward[own], self.mass[own], self.rank[own], self.n[rows])

    def within(self, lo: float, hi: float) -> Scaled:
        """The same with rewards taken from [lo, hi] to [0, 1]."""
        return Scaled(self, np.clip((self.reward - lo) / (hi - lo), 0.0, 1.0))


@dataclass(frozen=True)
class Scaled:
    """New draws with rewards x [D] in [0, 1]."""

    of: FirstDraws
    x: Floats

    @cached_property
    def unseen(self) -> Floats:
        """[D] the mass that was unseen before each."""
        return np.maximum(1 - _before(self.of.prompt, self.of.mass), np.maximum(self.of.mass, _LEAST))

    @cached_property
    def earned(self) -> Floats:
        """[D] what the known mass had earned before each: C."""
        return _before(self.of.prompt, self.of.mass * self.x)

    @cached_property
    def proved(self) -> Floats:
        """[M, 2] the limits of the mean that nothing can pass."""
        low, known = self._sum(self.of.mass * self.x), self._sum(self.of.mass)
        return np.stack([low, low + np.maximum(1 - known, 0.0)], -1)

    @property
    def mean(self) -> Floats:
        """[M] the weighted mean of X; NaN without a draw."""
        of, before, after = self.of, self.unseen, self.unseen - self.of.mass
        again = np.r_[of.rank[1:], 0] - of.rank - 1  # draws of known completions up to the next new one
        last = np.r_[of.prompt[1:] != of.prompt[:-1], True] if len(of.prompt) else np.zeros(0, bool)
        again[last] = (of.n[of.prompt] - of.rank - 1)[last]
        guess, next_guess = self._guesses()
        new, known = 1 / before, again / np.maximum(after, _LEAST)
        total = self._sum((self.earned + before * guess + self.x - guess) * new)
        total += self._sum((self.earned + of.mass * self.x + np.maximum(after, 0.0) * next_guess) * known)
        weight = self._sum(new + known)
        mean = np.divide(total, weight, out=np.full(len(of.n), np.nan), where=weight > 0)
        return np.asarray(np.clip(mean, *self.proved.T))

    def _guesses(self) -> tuple[Floats, Floats]:
        """[D] what the next new draw was expected to earn, before each and after it."""
        prompt, count = self.of.prompt, np.ones(len(self.x))
        n, s = _before(prompt, count), _before(prompt, self.x)
        late = n > 0
        earned, drawn = self._sum(self.x * late), self._sum(count * late)
        others = drawn.sum() - drawn
        of_others = np.divide(earned.sum() - earned, others, out=np.zeros(len(others)), where=others > 0)
        weight = np.where(others > 0, _OTHERS, 0.0)[prompt]
        pulled = weight * of_others[prompt]
        before = np.divide(s + pulled, n + weight, out=self.x.copy(), where=n + weight > 0)
        return before, (s + self.x + pulled) / (n + 1 + weight)

    def limits(self, level: float = 0.95) -> Floats:
        """[M, 2] limits of the mean that hold at any time with probability `level`, within what is proved: to 1/128 of that, outwards."""
        n = self._sum(np.ones(len(self.x)))
        blocks = np.cumsum(n) // _AT_ONCE
        parts = [self._part(blocks == block)._hull(level) for block in np.unique(blocks)]
        return np.concatenate(parts) if parts else np.zeros((0, 2))

    def _part(self, rows: NDArray[np.bool_]) -> Scaled:
        return Scaled(self.of.subset(rows), self.x[rows[self.of.prompt]])

    def _hull(self, level: float) -> Floats:
        lo, hi = self.proved.T
        at = lo[:, None] + (hi - lo)[:, None] * _GRID
        possible = self._log_capital(at, 1 - level) < np.log(1 / (1 - level))
        some, last = possible.any(-1), len(_GRID) - 1
        first = np.where(some, np.maximum(possible.argmax(-1) - 1, 0), 0)
        end = np.where(some, np.minimum(last - possible[:, ::-1].argmax(-1) + 1, last), last)
        rows = np.arange(len(at))
        return np.stack([at[rows, first], at[rows, end]], -1)

    def _log_capital(self, m: Floats, alpha: float) -> Floats:
        """[M, G] log of (K+ + K-) / 2 at means m [M, G]."""
        prompt, x = self.of.prompt, self.x
        n, s = _before(prompt, np.ones(len(x))), _before(prompt, x)
        spread = (0.25 + _before(prompt, (x - (0.5 + s + x) / (n + 2)) ** 2)) / (n + 1)
        stake = np.sqrt(2 * np.log(2 / alpha) / (spread * (n + 1) * np.log(n + 2)))[:, None]
        q = np.clip((m[prompt] - self.earned[:, None]) / self.unseen[:, None], _TINY, 1 - _TINY)
        more = self._sum(np.log1p(np.minimum(stake, _MOST_STAKED / q) * (x[:, None] - q)))
        less = self._sum(np.log1p(-np.minimum(stake, _MOST_STAKED / (1 - q)) * (x[:, None] - q)))
        return np.asarray(np.logaddexp(more, less) - np.log(2))

    def _sum(self, values: Floats) -> Floats:
        """[M, …] sums over the new draws of each prompt."""
        totals = np.zeros((len(self.of.n), *values.shape[1:]))
        np.add.at(totals, self.of.prompt, values)
        return totals


def _before(prompt: Ints, values: Floats) -> Floats:
    """[D] the sum of the values before each, within its prompt."""
    if len(prompt) == 0:
        return np.zeros(0)
    total = np.cumsum(values) - values
    first = np.r_[True, prompt[1:] != prompt[:-1]]
    return np.asarray(np.maximum(total - total[first][np.cumsum(first) - 1], 0.0))
