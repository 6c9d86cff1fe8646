"""What the probabilities of the completions prove of a prompt: bounds without a prior and without an error rate.

The distinct completions of a prompt that were drawn have probabilities p_i, which the engine told, and rewards r_i, which do not change
when the same completion is scored again. They are M = sum_i p_i of all there is. Where the other u = 1 - M lies nobody knows, only that
its rewards are in [lo, hi]. So the prompt's reward has one of the distributions

    sum_i p_i delta(r_i) + u Q,        Q any distribution on [lo, hi],

and every number of it lies between its least and its largest value over Q, each of which is attained (of P(mixed), approached):

    mean        all of Q at lo; at hi
    E[max K]    likewise
    variance    Q at the mean of what is known; Q at both ends, a share t of u at hi
    P(mixed)    Q where most of the known mass is; Q spread over values that nobody has seen
    gain        E[max K] - mean = integral of F - F^K, concave in F: Q at a single point, which is a known reward or an end; Q at both ends

Derived here. A p_i that is too small, as where the engine rounds, only makes the bounds wider: what is missing counts as unseen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints, merge_equal
from flatspot.stats.first_draws import FirstDraws

_STEPS = 50  # of a bisection over [0, 1]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class KnownMass:
    """The known part of the reward distributions of M prompts: an entry for each distinct reward of each, ascending.

    prompt     [E] index of the prompt
    reward     [E]
    mass       [E] the probability of the distinct completions with this reward, together
    n_prompts  M
    sound      whether it is what it claims: no completion was scored twice with different rewards, and no prompt has more than 1 in all
    firsts     the draws that were new; None where their order is not known
    """

    prompt: Ints
    reward: Floats
    mass: Floats
    n_prompts: int
    sound: bool = True
    firsts: FirstDraws | None = None

    @property
    def total(self) -> Floats:
        """[M] the known mass."""
        return np.minimum(_per_prompt(self.prompt, self.mass, self.n_prompts), 1.0)

    def subset(self, rows: NDArray[np.bool_]) -> KnownMass:
        """The prompts that `rows` [M] marks."""
        own = rows[self.prompt]
        firsts = None if self.firsts is None else self.firsts.subset(rows)
        return KnownMass((np.cumsum(rows) - 1)[self.prompt[own]], self.reward[own], self.mass[own], int(rows.sum()), self.sound, firsts)


@dataclass(frozen=True)
class Bounds:
    """[M, 2] what the least and the largest can be: of the mean, the std (ddof 0), P(a group of K is mixed), and the gain of its best."""

    mean: Floats
    std: Floats
    mixed: Floats
    gain: Floats


def known_mass(
    prompt: Ints, completion: Ints, reward: Floats, mass: Floats, n_prompts: int, *, rank: Ints | None = None, count: Ints | None = None
) -> KnownMass:
    """The known mass of rows, each a completion that was drawn.

    completion  [R] equal for equal completions of a prompt
    reward      [R] NaN where it was not scored: then its mass is not known
    mass        [R] probability, or less where it is not known exactly; NaN where it is not known. Of equal completions the largest counts
    rank        [R] its place among the prompt's rows; None: they are in the order drawn
    count       [R] how many draws the row stands for, the first of them at `rank`; None: one

    >>> known = known_mass(np.array([0, 0, 0]), np.array([7, 7, 9]), np.array([0.0, 0.0, 1.0]), np.array([0.6, 0.6, 0.1]), 1)
    >>> known.reward.tolist(), known.mass.tolist(), known.total.round(3).tolist()
    ([0.0, 1.0], [0.6, 0.1], [0.7])
    >>> known.firsts.rank.tolist(), known.firsts.n.tolist()
    ([0, 2], [3])
    """
    usable = np.isfinite(reward) & (mass > 0)
    prompt, completion, reward, mass = prompt[usable], completion[usable], merge_equal(reward[usable]), mass[usable]
    count = np.ones(len(prompt), np.int64) if count is None else count[usable]
    rank = _places(prompt) if rank is None else rank[usable]
    n = np.bincount(prompt, count, n_prompts).astype(np.int64)
    order = np.lexsort((-mass, completion, prompt))
    prompt, completion, reward, mass, rank = prompt[order], completion[order], reward[order], mass[order], rank[order]
    first = _starts(prompt, completion)
    sound = bool((reward == reward[first][np.cumsum(first) - 1]).all()) if len(prompt) else True
    earliest = np.minimum.reduceat(rank, np.flatnonzero(first)) if len(prompt) else rank
    prompt, reward, mass = prompt[first], reward[first], mass[first]
    order = np.lexsort((earliest, prompt))
    firsts = FirstDraws(prompt[order], reward[order], mass[order], earliest[order], n)
    order = np.lexsort((earliest, reward, prompt))  # sums are rounded alike whatever numbers stand for the completions
    prompt, reward, mass = prompt[order], reward[order], mass[order]
    at = np.flatnonzero(_starts(prompt, reward))
    mass = np.add.reduceat(mass, at) if len(at) else mass
    prompt, reward = prompt[at], reward[at]
    sound &= bool((_per_prompt(prompt, mass, n_prompts) <= 1 + _ROUNDING).all())
    return KnownMass(prompt, reward, mass, n_prompts, sound, firsts)


def bounds(known: KnownMass, lo: float, hi: float, group_size: int) -> Bounds:
    """What the mean, the std, P(mixed) and the gain of every prompt can be, for rewards in [lo, hi].

    >>> known = known_mass(np.zeros(2, int), np.arange(2), np.array([0.0, 1.0]), np.array([0.6, 0.3]), 1)
    >>> b = bounds(known, 0.0, 1.0, 4)
    >>> b.mean.round(3).tolist(), b.std.round(3).tolist(), b.mixed.round(3).tolist()
    ([[0.3, 0.4]], [[0.447, 0.49]], [[0.752, 0.862]])
    """
    x = np.clip((known.reward - lo) / (hi - lo), 0.0, 1.0)
    unseen = 1 - known.total
    low = _per_prompt(known.prompt, known.mass * x, known.n_prompts)
    return Bounds(
        mean=lo + (hi - lo) * np.stack([low, low + unseen], -1),
        std=(hi - lo) * np.sqrt(_variance(known, x, low, unseen)),
        mixed=_mixed(known, unseen, group_size),
        gain=(hi - lo) * _gain(known, x, unseen, group_size),
    )


def _variance(known: KnownMass, x: Floats, low: Floats, unseen: Floats) -> Floats:
    squares = _per_prompt(known.prompt, known.mass * x**2, known.n_prompts)
    total = known.total
    least = squares - np.divide(low**2, total, out=np.zeros_like(low), where=total > 0)
    at_hi = np.clip(0.5 - low, 0.0, unseen)
    return np.maximum(np.stack([least, squares + at_hi - (low + at_hi) ** 2], -1), 0.0)


def _mixed(known: KnownMass, unseen: Floats, group_size: int) -> Floats:
    equal = _per_prompt(known.prompt, known.mass**group_size, known.n_prompts)
    largest = np.zeros(known.n_prompts)
    np.maximum.at(largest, known.prompt, known.mass)
    most_equal = equal - largest**group_size + (largest + unseen) ** group_size
    return np.clip(1 - np.stack([most_equal, equal], -1), 0.0, 1.0)


def _gain(known: KnownMass, x: Floats, unseen: Floats, group_size: int) -> Floats:
    """[M, 2] of rewards in [0, 1]: the integral of F - F^K, F = A + G, where A is the known mass up to a reward and G that of the rest."""
    stretches = _stretches(known, x)

    def integral(extra: Floats) -> Floats:
        """[M] with so much [S] of the unseen mass below each stretch."""
        f = np.minimum(stretches.below + extra, 1.0)
        return _per_prompt(stretches.prompt, stretches.length * (f - f**group_size), known.n_prompts)

    # at most: all of Q at the ends, g of it at lo. The integral is concave in g, so its slope has one root
    lo, hi = np.zeros(known.n_prompts), unseen.copy()
    for _ in range(_STEPS):
        middle = (lo + hi) / 2
        f = stretches.below + middle[stretches.prompt]
        slope = _per_prompt(stretches.prompt, stretches.length * (1 - group_size * f ** (group_size - 1)), known.n_prompts)
        lo, hi = np.where(slope > 0, middle, lo), np.where(slope > 0, hi, middle)
    most = integral(((lo + hi) / 2)[stretches.prompt])
    # at least: all of Q at one point, the start of a stretch or hi: below it F = A, from there on F = A + u
    f, filled = stretches.below, np.minimum(stretches.below + unseen[stretches.prompt], 1.0)
    before, after = stretches.length * (f - f**group_size), stretches.length * (filled - filled**group_size)
    so_far = np.cumsum(before) - np.cumsum(after)
    from_prompt = so_far[stretches.first] - (before - after)[stretches.first]
    at_start = so_far - (before - after) - from_prompt[stretches.prompt]  # what moving the point here from lo changes
    change = np.zeros(known.n_prompts)
    np.minimum.at(change, stretches.prompt, np.minimum(at_start, at_start + before - after))
    least = _per_prompt(stretches.prompt, after, known.n_prompts) + change
    return np.asarray(np.maximum(np.stack([np.minimum(least, most), most], -1), 0.0))


@dataclass(frozen=True)
class _Stretches:
    """[0, 1] of every prompt, cut at its known rewards; ascending.

    prompt  [S];  length [S];  below [S] the known mass up to the stretch's start, this included
    first   [M] the first stretch of each prompt
    """

    prompt: Ints
    length: Floats
    below: Floats
    first: Ints


def _stretches(known: KnownMass, x: Floats) -> _Stretches:
    """One stretch from 0, and one from each known reward, to the next one or to 1."""
    m = known.n_prompts
    prompt = np.r_[np.arange(m), known.prompt]
    start = np.r_[np.zeros(m), x]
    mass = np.r_[np.zeros(m), known.mass]
    order = np.argsort(prompt, kind="stable")  # a prompt's entry at 0 comes first, its rewards ascend
    prompt, start, mass = prompt[order], start[order], mass[order]
    first = np.searchsorted(prompt, np.arange(m))
    end = np.r_[start[1:], 1.0]
    last = np.r_[first[1:] - 1, len(prompt) - 1] if m else first
    end[last] = 1.0
    total = np.cumsum(mass)
    below = total - (total[first] - mass[first])[prompt] if m else total
    return _Stretches(prompt, end - start, below, first)


def _places(prompt: Ints) -> Ints:
    """[R] how many rows of the same prompt come before each."""
    order = np.argsort(prompt, kind="stable")
    starts = _starts(prompt[order])
    at = np.arange(len(prompt))
    places = np.empty(len(prompt), np.int64)
    places[order] = at - at[starts][np.cumsum(starts) - 1] if len(prompt) else at
    return places


def _per_prompt(prompt: Ints, values: Floats, n_prompts: int) -> Floats:
    """[M] sums; of no values too."""
    totals = np.zeros(n_prompts)
    np.add.at(totals, prompt, values)
    return totals


def _starts(*columns: NDArray[np.int64] | Floats) -> NDArray[np.bool_]:
    """[R] whether a row differs from the one before it."""
    starts = np.zeros(len(columns[0]), bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return starts
