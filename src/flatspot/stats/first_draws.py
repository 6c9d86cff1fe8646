"""Estimates from the completions that were new when they were drawn: a completion that is drawn again says nothing that is not known.

A prompt's draws are i.i.d. with mean mu, its rewards in [0, 1]. Before draw i the distinct completions so far have the probability M and
earn C = sum p r of it, so with u = 1 - M the draw is new with probability u, and if it is new its reward has the mean q = (mu - C) / u,
whatever was drawn before and however it was decided to draw once more. Hence

    X_i = C + u b_i + [new] (r_i - b_i)      has the mean mu given the past, whatever b_i was guessed of q before
    mean    sum_i X_i / u_i over sum_i 1 / u_i, taken into [C, C + u] as it ends: later draws, which leave less open, count for more

with b_i the mean of what the prompt's new draws had earned so far, and of `_OTHERS` more that earned what those of the other prompts did,
each one's first draw left out: what is rarely written mostly fails under one reward, and mostly passes under another.

    limits  {m : B(s + 1/2, f + 1/2) / B(1/2, 1/2) < prod_j q_j(m)^r_j (1 - q_j(m))^(1 - r_j) / alpha},   s = sum r_j, f = sum 1 - r_j,

j over the new draws. The left side over the product is what a bettor has who stakes on a constant q under m, mixed over all q by
Jeffreys' prior: for 0/1 rewards a martingale of mean 1 at m = mu, for others less (by convexity), so that at any time, also one that the
rewards chose, m = mu is excluded with probability alpha at most (Ville). The set is an interval, as the logarithm of the product is
concave in m.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, xlog1py, xlogy

from flatspot.stats.evidence import Floats, Ints

_LEAST = 1e-12  # of the unseen mass: below it nothing is open
_STEPS = 40  # of a bisection
_OTHERS = 4.0  # new draws


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

    def log_likelihood(self, p: Floats) -> Floats:
        """[M, T] log of the product over the new draws, at means p [M, T]: -inf where it is impossible."""
        q = np.clip((p[self.of.prompt] - self.earned[:, None]) / self.unseen[:, None], 0.0, 1.0)
        with np.errstate(divide="ignore"):
            return self._sum(np.asarray(xlogy(self.x[:, None], q) + xlog1py(1 - self.x[:, None], -q)))

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
        """[M, 2] limits of the mean that hold at any time with probability `level`, within what is proved."""
        s, f = self._sum(self.x), self._sum(1 - self.x)
        least = betaln(s + 0.5, f + 0.5) - betaln(0.5, 0.5) + np.log(1 - level)
        lo, hi = self.proved.T
        best = self._most_likely(lo, hi)
        return np.stack([self._crossing(best, lo, least), self._crossing(best, hi, least)], -1)

    def _most_likely(self, lo: Floats, hi: Floats) -> Floats:
        """[M] the mean with the largest likelihood, by golden sections of the concave logarithm."""
        ratio = (np.sqrt(5) - 1) / 2
        for _ in range(_STEPS):
            left, right = hi - ratio * (hi - lo), lo + ratio * (hi - lo)
            at = self.log_likelihood(np.stack([left, right], -1))
            rising = at[:, 0] < at[:, 1]
            lo, hi = np.where(rising, left, lo), np.where(rising, hi, right)
        return (lo + hi) / 2

    def _crossing(self, inside: Floats, end: Floats, least: Floats) -> Floats:
        """[M] how far from `inside` towards `end` the likelihood stays above `least`: the outer side of a bisection."""
        allowed = self.log_likelihood(end[:, None])[:, 0] > least
        inner, outer = inside.copy(), end.copy()
        for _ in range(_STEPS):
            middle = (inner + outer) / 2
            good = self.log_likelihood(middle[:, None])[:, 0] > least
            inner, outer = np.where(good, middle, inner), np.where(good, outer, middle)
        return np.where(allowed, end, outer)

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
