"""Graded rewards sorted into categories, also where a set mixes families: what each prompt's weights are over.

A set's values are split into *atoms*, values that come again and again over the set, each prompt's *own* value, where it repeats one that
is no atom, and one or more *rests*, which are continuous. Every prompt then has counts over these categories, weights w with a prior
fitted to the set (`dictionary`), and a mean m and variance v of each rest, so that

    mu = sum_c w_c a_c + sum_q w_q m_q,      sigma^2 = sum_c w_c (a_c - mu)^2 + sum_q w_q (v_q + (m_q - mu)^2).

All on atoms is few-valued, all in a rest continuous, both zero-inflated; a prompt may be of any kind beside prompts of the others. There is
more than one rest where prompts earn rewards on both sides of a gap that no spread within a prompt reaches over, such as right and wrong
answers with a little noise: which side a reward falls on is then a matter of weights, and not of the shape of one distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import pdtrc

from flatspot.stats.evidence import Evidence, Floats, Ints, Tally
from flatspot.stats.models.dictionary import fit_dictionary
from flatspot.stats.models.rest import Rest, fit_rest
from flatspot.stats.zones import Zones

_MOST_ATOMS = 32
_ATOM_SHARE = 0.005
_NEIGHBORS, _STANDS_OUT, _FEWEST_ON_LATTICE = 3, 2.5, 12
_MOST_DIGITS, _BY_CHANCE = 4, 1e-3
_MOST_RESTS = 4
_CUT_AT = ((0.1, 0.3, 0.6, 0.85), (0.15, 0.4, 0.7, 0.9))
_FEWEST_CUT, _MOST_CHOOSING, _BINS = 60, 300, 16
_PRICE = 15.0  # of another rest, in log probability
# A gap parts two rests where so many prompts, and so large a share of those with two rewards, have rewards on either side, and it is so
# many times as wide as the spread within a prompt on either side.
_FEWEST_ACROSS, _SHARE_ACROSS, _WIDTHS = 5, 0.02, 4.0


@dataclass(frozen=True)
class Parts:
    """M prompts, split into categories.

    values  [A] the atoms
    counts  [M, A + 1 + Q] completions on each atom, on the prompt's own value, in each rest
    own     [M] the prompt's own value; NaN where it has none
    rests   [Q] the continuous parts, one at least, from low to high
    span    width of the reward range
    step    [M, Q] of rewards that were rounded, how far apart they lie around each rest; None where they were not
    """

    values: Floats
    counts: Ints
    own: Floats
    rests: tuple[Rest, ...]
    span: float
    step: Floats | None = None

    @property
    def n_atoms(self) -> int:
        """A."""
        return len(self.values)

    @property
    def used(self) -> Ints:
        """The categories that the set knows: all atoms, and own values and rests only where some prompt has one."""
        return np.flatnonzero(np.r_[np.ones(self.n_atoms, bool), self.counts[:, self.n_atoms :].any(0)])

    @property
    def can_tie(self) -> NDArray[np.bool_]:
        """[used] whether two rewards of the category are equal: not those of a rest."""
        return np.asarray(self.used <= self.n_atoms)

    @property
    def in_rest(self) -> Ints:
        """[M] completions in any rest."""
        return np.asarray(self.counts[:, self.n_atoms + 1 :].sum(-1))

    @property
    def family(self) -> str:
        """What the set is, by where its completions lie: few-valued, continuous, zero-inflated or mixed."""
        rest = self.in_rest > 0
        tied = self.counts[:, : self.n_atoms + 1].sum(-1) > 0
        if not rest.any():
            return "few-valued"
        if not tied.any():
            return "continuous"
        both, n = (rest & tied).sum(), len(rest)
        return "zero-inflated" if both > 0.1 * rest.sum() and self.n_atoms <= 2 else "mixed" if tied.sum() > 0.02 * n else "continuous"

    @property
    def fit(self) -> tuple[float, int]:
        """The worst `fit` of the rests: its distance, and how many prompts it was checked on."""
        return max(rest.fit for rest in self.rests)


def split(evidence: Evidence, zones: Zones) -> Parts:
    """Sort the scored completions into categories.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> rng = np.random.default_rng(0)
    >>> x = np.repeat(np.arange(40), 8)
    >>> r = np.where(x < 20, rng.integers(0, 3, 320) / 2, rng.random(320))
    >>> parts = split(evidence_of_rows(x, r, 40), Zones(0.05))
    >>> parts.values.tolist(), parts.counts[:20, -1].max(), parts.counts[20:, -1].min(), parts.family
    ([0.0, 0.5, 1.0], np.int64(0), np.int64(8), 'mixed')
    """
    tally, m = evidence.tally, evidence.n_prompts
    values, lattice = _atoms(tally, m) if evidence.support is None else (_with_ends(evidence.support, zones), False)
    x, r, c = tally.prompt, tally.reward, tally.count
    place = np.clip(np.searchsorted(values, r), 0, max(len(values) - 1, 0))
    on = values[place] == r if len(values) else np.zeros(len(r), bool)
    atoms = np.zeros((m, len(values)), np.int64)
    atoms[x[on], place[on]] = c[on]
    x, r, c = x[~on], r[~on], c[~on]
    own = _own_values(x, r, c, np.maximum(3, 0.8 * evidence.n) if lattice else np.full(m, 2.0))
    repeated = r == own[x]
    of_own = np.bincount(x[repeated], c[repeated], m).astype(np.int64)
    every = np.unique(r[~repeated])
    x, r = _spread_out(x[~repeated], r[~repeated], c[~repeated], every)
    rests = tuple(_rests(x, r, _cuts(x, r, m, zones.span), m, zones.span))
    step = np.stack([_cell(every, rest.mean) for rest in rests], -1) if lattice and len(every) > 1 else None
    return Parts(values, np.column_stack([atoms, of_own, *(rest.n for rest in rests)]), own, rests, zones.span, step)


def _cell(every: Floats, at: Floats) -> Floats:
    """How far apart the values `every` lie around each of `at`."""
    # the smallest of 2 · _NEIGHBORS gaps around each
    gaps = sliding_window_view(np.pad(np.diff(every), (_NEIGHBORS, _NEIGHBORS - 1), mode="edge"), 2 * _NEIGHBORS).min(-1)
    cells = np.minimum(np.r_[gaps[0], gaps], np.r_[gaps, gaps[-1]])
    return np.asarray(cells[np.clip(np.searchsorted(every, np.nan_to_num(at)), 0, len(every) - 1)])


def _spread_out(x: Ints, r: Floats, c: Ints, every: Floats) -> tuple[Ints, Floats]:
    """One row per completion; equal rewards of a prompt, which rounding made equal, lie evenly over the cell that rounds to them."""
    if len(every) < 2 or not (c > 1).any():
        return np.repeat(x, c), np.repeat(r, c)
    cell = _cell(every, r)
    rank = np.arange(c.sum()) - np.repeat(np.cumsum(c) - c, c)
    return np.repeat(x, c), np.repeat(r, c) + np.repeat(cell, c) * ((rank + 0.5) / np.repeat(c, c) - 0.5)


def _cuts(x: Ints, r: Floats, m: int, span: float) -> Floats:
    """[Q - 1] ascending: where one rest ends and the next begins: at gaps, else at levels, where the rewards are likelier so."""
    gaps = _gaps(x, r, m)
    if len(gaps) or len(r) < _FEWEST_CUT:
        return gaps
    some = np.flatnonzero(np.bincount(x, minlength=m) > 0)
    if len(some) > _MOST_CHOOSING:
        some = np.sort(np.random.default_rng(0).choice(some, _MOST_CHOOSING, replace=False))
    inside = np.isin(x, some)
    place, values = np.searchsorted(some, x[inside]), r[inside]
    levels = (np.unique(np.quantile(values, at)) for at in _CUT_AT)
    return max((gaps, *levels), key=lambda cuts: _log_evidence(_rests(place, values, cuts, len(some), span), values))


def _log_evidence(rests: Sequence[Rest], values: Floats) -> float:
    """Log probability of the rewards, and of which rest each one lies in; a mean is as likely as a reward of the set there."""
    counts = np.stack([rest.n for rest in rests], -1)
    weights = fit_dictionary(counts, np.array([np.nanmean(rest.mean) for rest in rests])).log_evidence(counts) if len(rests) > 1 else 0.0
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    log_density = np.log(np.histogram(values, edges)[0] / len(values) / np.diff(edges)) if len(edges) > 1 else np.zeros(1)
    total = weights
    for rest in rests:
        at = np.searchsorted(edges, rest.mean[rest.n > 0], side="right") - 1
        of_means = log_density[np.clip(at, 0, len(log_density) - 1)] - np.log(rest.n.sum() / len(values))
        total += rest.log_evidence + float(of_means.sum()) - _PRICE
    return total


def _rests(x: Ints, r: Floats, cuts: Floats, m: int, span: float) -> tuple[Rest, ...]:
    side = np.searchsorted(cuts, r)
    return tuple(fit_rest(x[side == q], r[side == q], m, span) for q in range(len(cuts) + 1))


def _with_ends(support: Floats, zones: Zones) -> Floats:
    """The support with the ends of the range in it: a reward nobody has earned yet can still be earned."""
    slack = 1e-6 * zones.span
    return np.sort(np.r_[support, [end for end in (zones.lo, zones.hi) if (np.abs(support - end) > slack).all()]])


def _atoms(tally: Tally, n_prompts: int) -> tuple[Floats, bool]:
    """Values seen in at least two prompts, three times, and in half a percent of the completions; whether the others are a lattice.

    On a lattice, such as scores rounded to two digits, most values come that often, each about as often as its neighbors: then only those
    that stand out are atoms, and the rest is as good as continuous. Where all values have a few digits, they stand out if chance does not
    make them: of few completions, any value may come three times and its neighbors once.
    """
    distinct, at = np.unique(tally.reward, return_inverse=True)
    size, prompts = np.bincount(at, tally.count), np.bincount(at)
    wide = (prompts >= min(2, n_prompts)) & (size >= max(3, _ATOM_SHARE * tally.count.sum()))
    if (step := _rounded_to(distinct)) is not None:
        kept = np.flatnonzero(wide & _stand_out(np.rint(distinct / step).astype(np.int64), size))
        return np.sort(distinct[kept[np.argsort(-size[kept], kind="stable")][:_MOST_ATOMS]]), True
    smooth = np.zeros(len(size), bool)
    if len(size) > _NEIGHBORS:  # fewer values are no lattice, and have no neighbors to reflect
        around = sliding_window_view(np.pad(size, _NEIGHBORS, mode="reflect"), 2 * _NEIGHBORS + 1)
        smooth = wide & (size < _STANDS_OUT * np.median(around, -1))
    lattice = bool(smooth.sum() >= _FEWEST_ON_LATTICE and smooth.sum() > wide.sum() / 2)
    kept = np.flatnonzero(wide & ~smooth if lattice else wide)
    return np.sort(distinct[kept[np.argsort(-size[kept], kind="stable")][:_MOST_ATOMS]]), lattice


def _rounded_to(values: Floats) -> float | None:
    """The step of values that all have so few digits; None where they have not.

    >>> _rounded_to(np.arange(40) / 100), _rounded_to(np.arange(40) / 30)
    (0.01, None)
    """
    if len(values) <= _FEWEST_ON_LATTICE:
        return None
    for digits in range(_MOST_DIGITS + 1):
        steps = values * 10.0**digits
        if (np.abs(steps - np.rint(steps)) < 1e-9 * np.maximum(np.abs(steps), 1.0)).all():
            return float(10.0**-digits)
    return None


def _stand_out(place: Ints, size: Ints) -> NDArray[np.bool_]:
    """[V] values at these places of a lattice, ascending, that come more often than neighbors, also empty ones, and chance explain."""
    before = np.r_[0.0, np.cumsum(size)]
    low, high = np.searchsorted(place, place - _NEIGHBORS), np.searchsorted(place, place + _NEIGHBORS, "right")
    rate = (before[high] - before[low] - size + 1) / (2 * _NEIGHBORS)
    return np.asarray((size >= _STANDS_OUT * rate) & (pdtrc(size - 1, rate) < _BY_CHANCE / len(size)))


def _own_values(x: Ints, r: Floats, c: Ints, least: Floats) -> Floats:
    """[M] each prompt's most frequent non-atom value where it has it `least` [M] times, else NaN."""
    own = np.full(len(least), np.nan)
    order = np.lexsort((-r, c))
    order = order[(c >= least[x])[order]]
    own[x[order]] = r[order]
    return own


def _gaps(x: Ints, r: Floats, m: int) -> Floats:
    """[Q - 1] ascending: where one rest ends and the next begins, the middles of gaps between them."""
    gaps: list[float] = []
    pending = [(-np.inf, np.inf)]
    while pending and len(gaps) < _MOST_RESTS - 1:
        lo, hi = pending.pop(0)
        inside = (r > lo) & (r < hi)
        if (gap := _gap(x[inside], r[inside], m)) is not None:
            gaps.append(gap)
            pending += [(lo, gap), (gap, hi)]
    return np.sort(np.array(gaps))


def _gap(x: Ints, r: Floats, m: int) -> float | None:
    """The middle of the widest gap between the pooled rewards, where it parts two rests."""
    ascending = np.sort(r)
    if len(ascending) < 2 * _FEWEST_ACROSS:
        return None
    steps = np.diff(ascending)
    widest = int(steps[_FEWEST_ACROSS - 1 : -_FEWEST_ACROSS].argmax()) + _FEWEST_ACROSS - 1 if len(steps) > 2 * _FEWEST_ACROSS else 0
    middle, width = (ascending[widest] + ascending[widest + 1]) / 2, steps[widest]
    n = np.bincount(x, minlength=m)
    above = np.bincount(x[r > middle], minlength=m)
    across = int(((above > 0) & (above < n)).sum())
    if across < max(_FEWEST_ACROSS, _SHARE_ACROSS * (n > 1).sum()):
        return None
    spreads = [_spread(x[side], r[side], m) for side in (r > middle, r < middle)]
    return float(middle) if width > _WIDTHS * max(spreads) else None


def _spread(x: Ints, r: Floats, m: int) -> float:
    """Pooled std within a prompt; 0 where none has two rewards."""
    n = np.bincount(x, minlength=m)
    mean = np.bincount(x, r, m) / np.maximum(n, 1)
    free = len(x) - int((n > 0).sum())
    return float(np.sqrt(((r - mean[x]) ** 2).sum() / free)) if free else 0.0


def heights(parts: Parts) -> Floats:
    """[used] where each category lies, to order them: own values and rests by the middle of their prompts."""
    middles = [float(np.nanmean(rest.mean)) if (rest.n > 0).any() else 0.0 for rest in parts.rests]
    own = float(np.nanmean(parts.own)) if np.isfinite(parts.own).any() else middles[0]
    return np.asarray(np.r_[parts.values, own, middles][parts.used])
