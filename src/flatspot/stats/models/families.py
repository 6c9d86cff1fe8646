"""Graded rewards, also where a set mixes families: one model per prompt, checked against its completions.

A set's values are split into *atoms*, values that come again and again over the set, each prompt's *own* value, where it repeats one that
is no atom, and the *rest*, which is continuous. Every prompt then has counts over these categories, weights w with a prior fitted to
the set (`dictionary`), and a mean m and variance v of its rest, so that

    mu = sum_c w_c a_c + w_rest m,      sigma^2 = sum_c w_c (a_c - mu)^2 + w_rest (v + (m - mu)^2).

All on atoms is few-valued, all rest continuous, both zero-inflated; a prompt may be of any kind beside prompts of the others. v is a
moderated variance (each prompt's own, shrunk towards a prior fitted to the set by limma's moments): with s^2 of d = n - 1 degrees of
freedom, sigma^2 ~ (d0 s0^2 + d s^2) / chi2(d0 + d). m is normal given v. Whether that holds is checked: each rest value must be uniform
under what its prompt's other ones predict. Where it is not, the rest is cut into bins, which no shape can contradict, and a
caveat says so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtr

from flatspot.stats.evidence import Evidence, Floats, Ints, Tally
from flatspot.stats.models.dictionary import Dictionary, fit_dictionary
from flatspot.stats.zones import Zones

_MOST_ATOMS = 32
_ATOM_SHARE = 0.005
_BINS = 16
_CHECKED_FROM = 4
_MOST_CHECKED = 20_000
# The Kolmogorov-Smirnov distance from which on the model is given up, and what chance alone may add: sets of normal, beta and
# zero-inflated rewards stayed below, two clumps and skewed rewards above, in simulation.
_MISFIT = 0.05
_MISFIT_BY_CHANCE = 0.9
_MAX_PRIOR_DOF = 1000.0


@dataclass(frozen=True)
class Parts:
    """M prompts, split into categories.

    values    [A] the atoms, or the means of the bins
    within    [A] variance inside each: 0 for atoms
    counts    [M, A + 2] samples on each atom, on the prompt's own value, in the rest
    own       [M] the prompt's own value; where it has none NaN, or of binned prompts their mean
    mean      [M] mean of the rest; NaN where there is none
    variance  [M] its variance, ddof 1; NaN under two samples
    fit       Kolmogorov-Smirnov distance of the rest from what the model predicts, and how many prompts were checked
    span      width of the reward range
    binned    whether the rest was cut into bins
    """

    values: Floats
    within: Floats
    counts: Ints
    own: Floats
    mean: Floats
    variance: Floats
    fit: tuple[float, int]
    span: float
    binned: bool = False

    @property
    def used(self) -> Ints:
        """The categories that the set knows: all atoms, and own values and a rest only where some prompt has one."""
        return np.flatnonzero(np.r_[np.ones(len(self.values), bool), self.counts[:, -2:].any(0)])

    @property
    def can_tie(self) -> NDArray[np.bool_]:
        """[used] whether two rewards of the category are equal: not those of bins, and not those of the rest."""
        return np.asarray(np.r_[self.within == 0, True, False][self.used])

    @property
    def family(self) -> str:
        """What the set is, by where its samples lie: few-valued, continuous, zero-inflated or mixed."""
        if self.binned:
            return "binned"
        rest = self.counts[:, -1] > 0
        tied = self.counts[:, :-1].sum(-1) > 0
        if not rest.any():
            return "few-valued"
        if not tied.any():
            return "continuous"
        both, n = (rest & tied).sum(), len(rest)
        return "zero-inflated" if both > 0.1 * rest.sum() and len(self.values) <= 2 else "mixed" if tied.sum() > 0.02 * n else "continuous"


def split(evidence: Evidence, zones: Zones) -> Parts:
    """Sort the scored samples into categories.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> rng = np.random.default_rng(0)
    >>> x = np.repeat(np.arange(40), 8)
    >>> r = np.where(x < 20, rng.integers(0, 3, 320) / 2, rng.random(320))
    >>> parts = split(evidence_of_rows(x, r, 40), Zones(0.05))
    >>> parts.values.tolist(), parts.counts[:20, -1].max(), parts.counts[20:, -1].min(), parts.family
    ([0.0, 0.5, 1.0], np.int64(0), np.int64(8), 'mixed')
    """
    tally, m, span = evidence.tally, evidence.n_prompts, zones.span
    if evidence.support is not None:
        values = _with_ends(evidence.support, zones)
        return _counted(tally, m, values, span)
    values = _atoms(tally, m)
    parts = _counted(tally, m, values, span)
    distance, checked = parts.fit
    if checked >= 10 and distance > max(_MISFIT, _MISFIT_BY_CHANCE / np.sqrt(checked)):
        return _binned(tally, m, values, span, parts.fit)
    return parts


def _with_ends(support: Floats, zones: Zones) -> Floats:
    """The support with the ends of the range in it: a reward nobody has earned yet can still be earned."""
    slack = 1e-6 * zones.span
    return np.sort(np.r_[support, [end for end in (zones.lo, zones.hi) if (np.abs(support - end) > slack).all()]])


def _atoms(tally: Tally, n_prompts: int) -> Floats:
    """Values seen in at least two prompts, three times, and in half a percent of the samples."""
    distinct, at = np.unique(tally.reward, return_inverse=True)
    size, prompts = np.bincount(at, tally.count), np.bincount(at)
    wide = (prompts >= min(2, n_prompts)) & (size >= max(3, _ATOM_SHARE * tally.count.sum()))
    kept = np.flatnonzero(wide)
    return np.sort(distinct[kept[np.argsort(-size[kept], kind="stable")][:_MOST_ATOMS]])


def _counted(tally: Tally, m: int, values: Floats, span: float) -> Parts:
    x, r, c = tally.prompt, tally.reward, tally.count
    counts = np.zeros((m, len(values) + 2), np.int64)
    place = np.clip(np.searchsorted(values, r), 0, max(len(values) - 1, 0))
    on = values[place] == r if len(values) else np.zeros(len(r), bool)
    counts[x[on], place[on]] = c[on]
    x, r, c = x[~on], r[~on], c[~on]
    own = _own_values(x, r, c, m)
    repeated = r == own[x]
    counts[:, -2] = np.bincount(x[repeated], c[repeated], m)
    x, r = np.repeat(x[~repeated], c[~repeated]), np.repeat(r[~repeated], c[~repeated])
    counts[:, -1] = n = np.bincount(x, minlength=m)
    mean = mean_of(x, r, m)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(n > 1, np.bincount(x, (r - mean[x]) ** 2, m) / (n - 1.0), np.nan)
    return Parts(values, np.zeros(len(values)), counts, own, mean, variance, _fit(x, r, m), span)


def _own_values(x: Ints, r: Floats, c: Ints, m: int) -> Floats:
    """[M] each prompt's most frequent non-atom value where it has it twice, else NaN."""
    own = np.full(m, np.nan)
    order = np.lexsort((-r, c))
    order = order[c[order] > 1]
    own[x[order]] = r[order]
    return own


def _fit(x: Ints, r: Floats, m: int) -> tuple[float, int]:
    """Distance from uniform of every rest value under the t distribution that its prompt's other ones predict; prompts checked."""
    n = np.bincount(x, minlength=m)
    rows = np.flatnonzero(n >= _CHECKED_FROM)
    if len(rows) == 0:
        return 0.0, 0
    mean = mean_of(x, r, m)
    squares = np.bincount(x, (r - mean[x]) ** 2, m)
    d0, s0 = variance_prior(np.asarray(squares[rows] / (n[rows] - 1)), np.asarray(n[rows] - 1.0))
    chosen = np.zeros(m, bool)
    chosen[rows[:: -(-len(rows) // _MOST_CHECKED)]] = True
    x, r = x[chosen[x]], r[chosen[x]]
    k = n[x] - 1.0
    gap = (r - mean[x]) * (k + 1) / k  # to the mean of the others
    left = np.maximum(squares[x] - gap**2 * k / (k + 1), 0.0)
    scale = np.sqrt(np.maximum((d0 * s0 + left) / (d0 + k - 1) * (1 + 1 / k), 1e-300))
    u = np.sort(stdtr(d0 + k - 1, gap / scale))
    steps = np.arange(1, len(u) + 1) / len(u)
    return float(np.maximum(steps - u, u - steps + 1 / len(u)).max()), int(chosen.sum())


def mean_of(x: Ints, r: Floats, m: int, c: Ints | None = None) -> Floats:
    """[M] mean of the rows of each prompt, row i standing for c[i] samples; NaN where it has none."""
    n = np.bincount(x, c, m)
    return np.asarray(np.bincount(x, r if c is None else r * c, m) / np.where(n > 0, n, np.nan))


def _binned(tally: Tally, m: int, values: Floats, span: float, fit: tuple[float, int]) -> Parts:
    """Atoms and own values as they are, the rest in bins of about equal counts, each standing for its mean and keeping its variance."""
    on = np.isin(tally.reward, values)
    x, r, c = tally.prompt[~on], tally.reward[~on], tally.count[~on]
    own = _own_values(x, r, c, m)
    repeated = r == own[x]
    own_count = np.bincount(x[repeated], c[repeated], m)
    own = np.where(np.isfinite(own), own, mean_of(x, r, m, c))
    own = np.where(np.isfinite(own), own, np.average(r, weights=c))  # which a prompt without a repeated value may yet repeat
    x, r, c = x[~repeated], r[~repeated], c[~repeated]
    edges = np.unique(np.quantile(np.repeat(r, c), np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, r, side="right")
    mean = mean_of(bins, r, len(edges) + 1, c)
    spread = mean_of(bins, (r - mean[bins]) ** 2, len(edges) + 1, c)
    used = np.flatnonzero(np.isfinite(mean))
    counts = np.zeros((m, len(values) + len(used) + 2), np.int64)
    counts[tally.prompt[on], np.searchsorted(values, tally.reward[on])] = tally.count[on]
    np.add.at(counts, (x, len(values) + np.searchsorted(used, bins)), c)
    counts[:, -2], none = own_count, np.full(m, np.nan)
    all_values, within = np.r_[values, mean[used]], np.r_[np.zeros(len(values)), spread[used]]
    order = np.argsort(all_values, kind="stable")
    counts[:, : len(order)] = counts[:, order]
    return Parts(all_values[order], within[order], counts, own, none, none, fit, span, binned=True)


def variance_prior(variance: Floats, dof: Floats) -> tuple[float, float]:
    """(d0, s0^2) of the scaled inverse chi-square prior on the variance, from the moments of the log sample variances.

    With fewer than three positive variances there is nothing to pool: (0, 0).
    """
    use = (variance > 0) & (dof > 0)
    if use.sum() < 3:
        return 0.0, 0.0
    half = dof[use] / 2
    logs = np.log(variance[use]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    d0 = 2 * _inverse_trigamma(float(excess)) if excess > 0 else _MAX_PRIOR_DOF
    d0 = min(d0, _MAX_PRIOR_DOF)
    return d0, float(np.exp(logs.mean() + digamma(d0 / 2) - np.log(d0 / 2)))


def _inverse_trigamma(y: float) -> float:
    x = 0.5 + 1 / y
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / y) / polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


@dataclass(frozen=True)
class Moments:
    """Posterior draws of R prompts.

    mean, std   [R, draws] of the reward
    ties        [R, draws, at most A + 1] weights of the values that two completions can have in common: not those of bins
    weights     [R, draws, A + 2] of all categories
    own         [R, draws] the prompt's own value
    rest_mean, rest_variance  [R, draws] of the rest
    """

    mean: Floats
    std: Floats
    ties: Floats
    weights: Floats
    own: Floats
    rest_mean: Floats
    rest_variance: Floats

    def at(self, some: NDArray[np.bool_]) -> Moments:
        """The draws that `some` [R, draws] marks, as one row of them."""
        return Moments(*(getattr(self, f.name)[some] for f in fields(self)))


def moments(parts: Parts, rows: Ints, prior: Dictionary, draws: int, rng: np.random.Generator) -> Moments:
    """Posterior draws of (mu, sigma) for the prompts `rows`."""
    used = parts.used
    weights = np.zeros((len(rows), draws, parts.counts.shape[1]))
    weights[..., used] = prior.draw(parts.counts[rows][:, used], draws, rng)
    rest_mean, rest_variance = _rest(parts, rows, draws, rng)
    own = np.where(np.isfinite(parts.own[rows]), parts.own[rows], np.nan)[:, None]
    own = np.where(np.isfinite(own), own, rest_mean)  # a prompt with no repeated value may yet repeat one of its rest
    at = parts.values
    mean = weights[..., :-2] @ at + weights[..., -2] * own + weights[..., -1] * rest_mean
    square = weights[..., :-2] @ (at**2 + parts.within) + weights[..., -2] * own**2 + weights[..., -1] * (rest_mean**2 + rest_variance)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    return Moments(mean, std, weights[..., used[parts.can_tie]], weights, own, rest_mean, rest_variance)


def _rest(parts: Parts, rows: Ints, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draws [R, draws] of the mean and variance of each prompt's rest; a prompt without one gets another prompt's."""
    n = parts.counts[:, -1]
    seen = np.flatnonzero(n > 0)
    shape = (len(rows), draws)
    if len(seen) == 0:
        return np.zeros(shape), np.zeros(shape)
    d0, s0 = variance_prior(parts.variance[n > 1], np.asarray(n[n > 1] - 1.0))
    if d0 <= 0:
        d0, s0 = 1.0, parts.span**2 / 12  # nothing to pool: one pseudo-sample as wide as the range
    from_ = np.where((n[rows] > 0)[:, None], rows[:, None], seen[rng.integers(0, len(seen), shape)])
    dof = np.maximum(n[from_] - 1.0, 0.0)
    scale = d0 * s0 + dof * np.nan_to_num(parts.variance[from_])
    variance = scale / rng.chisquare(d0 + dof)
    return parts.mean[from_] + rng.standard_normal(shape) * np.sqrt(variance / n[from_]), variance


def prior_of(parts: Parts) -> Dictionary:
    """The prior of the category weights, fitted to the set; own values and rests are placed by the middle of the set."""
    middle = float(np.nanmean(parts.mean)) if np.isfinite(parts.mean).any() else float(np.mean(parts.values)) if len(parts.values) else 0.0
    return fit_dictionary(parts.counts[:, parts.used], np.r_[parts.values, middle, middle][parts.used])
