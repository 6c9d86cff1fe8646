"""A continuous part of the rewards of many prompts: each has a mean, a std and a shape, and the set a distribution over stds and shapes.

Model: x = m + s z, z of one of the `shapes`; (shape, log s) ~ pi, any distribution on a grid, which may change with the mean; m anywhere.
With the mean integrated out,

    L_i(h, s) = ∫ prod_k phi_h((x_ik - m) / s) / s  dm,

pi is fitted to the prompts by EM over these, and judged under, for each prompt, without its own share of it. A normal shape alone with an
inverse chi-square for pi would be limma's moderated variance; here the stds of a set may fall into any groups, and skewed rewards,
two bumps and heavy tails are told from normal ones by what the set shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.shapes import STEP, Z, shapes
from flatspot.stats.threads import one_thread

Narrow = NDArray[np.float32]

_SCALE_STEP, _MOST_SCALES = 0.35, 40
_MEANS: Floats = np.linspace(-4.2, 4.2, 15)  # of the mean of n rewards around theirs, in s / sqrt(n)
_WINDOW, _BELOW = 13, 4.0  # stds that are integrated for a prompt, from a quarter of that of its rewards on
_MOST_VALUES = 64  # of a prompt: more of them say the same
_LEAST_WIDTH = 0.8  # of the mean: a sharp shape tells more, were it exactly the one that is meant
_KERNEL: Floats = np.array([0.1, 0.2, 0.4, 0.2, 0.1])  # by which neighboring stds are as likely
_MOST_FITTED = 4000
_ITERATIONS, _EVEN_SHARE = 150, 0.02
_TEMPER = 0.6  # of the likelihood of a prompt's std and shape: no shape is exactly the one that is meant
# a bin is of the means of the rewards, which are low where skewed rewards happen to have a small std: it is not taken at its word alone
_FEWEST_IN_BIN, _MOST_BINS, _OF_SET = 30, 8, 30.0
_CELLS_AT_ONCE = 3_000_000
_DONORS = 256
_CHECKED_FROM, _MOST_CHECKED = 4, 2000
_BY_CHANCE = 1.63  # the 99% point of the Kolmogorov-Smirnov distance, times the root of the sample


@dataclass(frozen=True)
class Rest:
    """One continuous part of M prompts.

    n, mean   [M] rewards in it, and their mean; NaN where there is none
    scales    [S] the stds that a prompt may have
    pi        [B, H, S] distribution over shapes and stds, for each bin of means: rewards near an end of their range have smaller stds
    place     [M] the bin of each prompt
    like      [M, H, S] likelihood of each, scaled to a largest of 1
    center, width  [M, H, S] of the mean, in s / sqrt(n) around that of the rewards
    log_evidence  log probability of all rewards, up to that of where each prompt's mean lies
    fit       how far the shapes of the rewards are from those of the model (Kolmogorov-Smirnov), beyond chance; and prompts checked
    """

    n: Ints
    mean: Floats
    scales: Floats
    pi: Floats
    place: Ints = field(repr=False)
    like: Narrow = field(repr=False)
    center: Narrow = field(repr=False)
    width: Narrow = field(repr=False)
    log_evidence: float
    fit: tuple[float, int]

    def draw(self, rows: Ints, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        """(mean, variance, shape) [R, draws] of prompts `rows`; one without a reward here gets other prompts'."""
        shape = (len(rows), draws)
        donors = np.flatnonzero(self.n > 0)
        if len(donors) == 0:
            return np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
        mean, std, kind = self._posterior(rows[self.n[rows] > 0], draws, rng)
        if (lacking := self.n[rows] == 0).any():
            every = donors if len(donors) <= _DONORS else np.random.default_rng(0).choice(donors, _DONORS, replace=False)
            theirs = self._posterior(every, 1, rng)
            pick = rng.integers(0, len(every), (int(lacking.sum()), draws))
            mean, std = _scattered(lacking, mean, theirs[0][pick, 0]), _scattered(lacking, std, theirs[1][pick, 0])
            every_kind = np.empty(shape, np.int64)
            every_kind[~lacking], every_kind[lacking] = kind, theirs[2][pick, 0]
            kind = every_kind
        return mean, np.asarray(std**2), np.asarray(kind)

    def _posterior(self, rows: Ints, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        """(mean, std, shape) [R, draws] of prompts that have a reward here."""
        cells = self._responsibilities(rows)
        edges = np.cumsum(cells, -1)
        edges /= edges[:, -1:]
        at = (np.arange(draws) + rng.random((len(rows), 1))) / draws
        cell = _pick(edges, at)
        kind, scale = np.divmod(cell, len(self.scales))
        step = np.log(self.scales[1] / self.scales[0]) if len(self.scales) > 1 else 0.0
        std = self.scales[scale] * np.exp(step * (rng.random(cell.shape) - 0.5))
        row = rows[:, None]
        off = self.center[row, kind, scale] + self.width[row, kind, scale] * rng.standard_normal(cell.shape)
        order = rng.permuted(
            np.broadcast_to(np.arange(draws), cell.shape), axis=1
        )  # strata come in order, which other draws must not share
        mean = self.mean[row] + off * std / np.sqrt(self.n[row])
        return tuple(np.take_along_axis(column, order, 1) for column in (mean, std, kind))  # type: ignore[return-value]

    def _responsibilities(self, rows: Ints) -> Floats:
        """[R, H * S] under pi without the prompt's own share of it."""
        like = self.like[rows].reshape(len(rows), self.pi[0].size).astype(np.float64)
        pi = self.pi.reshape(len(self.pi), -1)[self.place[rows]]
        n_fitted = np.bincount(self.place[self.n > 1], minlength=len(self.pi))[self.place[rows], None]
        own = like * pi
        own /= own.sum(-1, keepdims=True)
        floor = (_EVEN_SHARE + 1 / (1 + n_fitted)) / pi.shape[1]
        others = np.maximum(n_fitted * pi - own * (self.n[rows, None] > 1), 0.0) / np.maximum(n_fitted - 1, 1) + floor
        joint = like**_TEMPER * others
        return np.asarray(joint / joint.sum(-1, keepdims=True))


def _scattered(lacking: NDArray[np.bool_], own: Floats, other: Floats) -> Floats:
    every = np.empty((len(lacking), other.shape[1]))
    every[~lacking], every[lacking] = own, other
    return every


def _pick(edges: Floats, at: Floats) -> Ints:
    shifted = edges + np.arange(len(edges))[:, None]  # row r of the edges lies in (r, r + 1], so one search serves all rows
    flat = np.searchsorted(shifted.reshape(-1), (at + np.arange(len(at))[:, None]).reshape(-1))
    return np.asarray(np.clip(flat.reshape(at.shape) - np.arange(len(at))[:, None] * edges.shape[1], 0, edges.shape[1] - 1))


@one_thread
def fit_rest(prompt: Ints, reward: Floats, n_prompts: int, span: float) -> Rest:
    """Fit the part that these rewards make up, one row each; span is the width of the range, for where nothing varies.

    >>> rng = np.random.default_rng(0)
    >>> std = np.repeat([0.01, 0.2], 100)
    >>> rest = fit_rest(np.repeat(np.arange(200), 8), (std[:, None] * rng.standard_normal((200, 8))).ravel(), 200, 1.0)
    >>> drawn = np.sqrt(rest.draw(np.array([0, 199]), 400, rng)[1]).mean(1)
    >>> bool(0.007 < drawn[0] < 0.012), bool(0.15 < drawn[1] < 0.25), rest.fit[0] < 0.05
    (True, True, True)
    """
    order = np.lexsort((reward, prompt))
    prompt, reward = prompt[order], reward[order]
    n = np.bincount(prompt, minlength=n_prompts)
    mean = np.bincount(prompt, reward, n_prompts) / np.where(n > 0, n, np.nan)
    squares = np.bincount(prompt, (reward - mean[prompt]) ** 2, n_prompts)
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(np.where(n > 1, squares / (n - 1.0), np.nan))
    scales = _scales(std, span)
    shape = (n_prompts, len(shapes().names), len(scales))
    like, center, width = np.ones(shape, np.float32), np.zeros(shape, np.float32), np.ones(shape, np.float32)
    rows, height = np.flatnonzero(n > 1), np.zeros(n_prompts)
    thin = _thinned(prompt, n)
    step = max(1, _CELLS_AT_ONCE // (_WINDOW * len(_MEANS) * len(shapes().names) * min(max(int(n.max(initial=1)), 1), _MOST_VALUES)))
    starts = np.searchsorted(prompt[thin], np.arange(n_prompts + 1))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        at = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in some])
        values, length = reward[thin][at], np.diff(starts)[some]
        like[some], center[some], width[some], height[some] = _integrated(values, length, mean[some], std[some], scales)
    place, n_bins = _bins(mean, n > 1)
    pi = _fitted(like[rows], place[rows], n_bins)
    evidence = float((np.log(np.einsum("rhs,rhs->r", like[rows], pi[place[rows]])) + height[rows]).sum())
    rest = Rest(n, mean, scales, pi, place, like, center, width, evidence, (0.0, 0))
    return replace(rest, fit=_check(rest, prompt, reward))


def _scales(std: Floats, span: float) -> Floats:
    seen = std[np.isfinite(std) & (std > 0)]
    lo, hi = (seen.min() / 3, seen.max() * 4) if len(seen) else (span / 100, span)
    size = int(min(np.ceil(np.log(hi / lo) / _SCALE_STEP) + 1, _MOST_SCALES))
    return np.asarray(np.exp(np.linspace(np.log(lo), np.log(hi), size)))


def _thinned(prompt: Ints, n: Ints) -> Ints:
    """Indices of at most `_MOST_VALUES` rewards of each prompt, evenly over its ascending ones."""
    starts = np.cumsum(n) - n
    rank = np.arange(len(prompt)) - starts[prompt]
    keep = np.minimum(n[prompt], _MOST_VALUES)
    return np.flatnonzero((rank * keep) // n[prompt] != ((rank - 1) * keep) // n[prompt])


def _integrated(values: Floats, length: Ints, mean: Floats, std: Floats, scales: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(like, center, width) [B, H, S], and the logarithm of the largest likelihood [B].

    The rewards `values` of the prompts lie one prompt after the other, `length` [B] of each, `mean` and `std` their own. Stds much smaller
    than theirs are out of the question, and under much larger ones the rewards might as well be equal: those between are integrated.
    """
    window = min(_WINDOW, len(scales))
    first = np.clip(np.searchsorted(scales, std / _BELOW), 0, len(scales) - window)
    at = first[:, None] + np.arange(window)
    starts, prompt = np.cumsum(length) - length, np.repeat(np.arange(len(length)), length)
    off = ((values - mean[prompt])[:, None] / scales[at][prompt])[:, :, None] - _MEANS / np.sqrt(length)[prompt, None, None]
    place = np.clip((off - Z[0]) / STEP + 0.5, 0, len(Z) - 1).astype(np.int32)
    log = np.add.reduceat(_table()[place], starts, axis=0)  # [B, W, T, H]
    top = log.max(2)
    density = np.exp(log - top[:, :, None])
    total = np.maximum(density.sum(2), 1e-30)
    center = np.einsum("bwth,t->bwh", density, _MEANS) / total
    square = np.einsum("bwth,t->bwh", density, _MEANS**2) / total
    inside = [np.log(total) + top, center, square - center**2]
    full = []
    for part, below, of_equal in zip(inside, (-np.inf, 0.0, 1.0), _equal(length), strict=True):
        every = np.where(np.arange(len(scales))[:, None] < first[:, None, None], below, of_equal[:, None])
        np.put_along_axis(every, at[:, :, None], part, 1)
        full.append(every.transpose(0, 2, 1))
    like, center, variance = full
    like = like - (length[:, None, None] - 1) * np.log(scales)
    top = like.max((1, 2))
    height = top - np.log(length) / 2 + np.log(_MEANS[1] - _MEANS[0])
    return np.exp(like - top[:, None, None]), center, np.sqrt(np.maximum(variance, _LEAST_WIDTH**2)), height


def _equal(length: Ints) -> tuple[Floats, Floats, Floats]:
    """(log likelihood but for the scale, center, variance) [B, H] of n equal rewards under each shape."""
    sizes, which = np.unique(length, return_inverse=True)
    step = (_MEANS[1] - _MEANS[0]) / np.sqrt(sizes)[:, None]
    log = sizes[:, None, None] * _table().T  # [N, H, Z]
    top = log.max(-1, keepdims=True)
    density = np.exp(log - top)
    total = density.sum(-1)
    mean = -(density @ Z) / total * np.sqrt(sizes)[:, None]  # a reward at z is a mean of -z
    square = (density @ Z**2) / total * sizes[:, None]
    of = np.log(total * STEP / step) + top[..., 0], mean, square - mean**2
    one, two, three = (part[which.reshape(-1)] for part in of)
    return one, two, three


@lru_cache(maxsize=1)
def _table() -> Floats:
    """[601, H] log densities at `Z`."""
    return np.ascontiguousarray(shapes().log_density.T, np.float32)


def _fitted(like: Narrow, place: Ints, n_bins: int) -> Floats:
    """[B, H, S] the distribution over shapes and stds under which the prompts of each bin are likeliest, a little smoothed.

    First that of all of them, spread a little over everything; then, from there, that of each bin, with some prompts like those of the set.
    """
    h, s = like.shape[1:]
    if len(like) > _MOST_FITTED:
        some = np.random.default_rng(0).choice(len(like), _MOST_FITTED, replace=False)
        like, place = like[some], place[some]
    table = like.reshape(len(like), h * s).astype(np.float64)
    even = np.full(h * s, 1 / (h * s))
    of_all = _em(table, even, (_EVEN_SHARE * len(like) + 1) * even)
    by_bin = [_em(table[place == b], of_all, _OF_SET * of_all) for b in range(n_bins)] if n_bins > 1 else [of_all]
    pi = np.stack(by_bin).reshape(n_bins, h, s)
    padded = np.pad(pi, ((0, 0), (0, 0), (len(_KERNEL) // 2,) * 2), mode="edge")
    pi = sliding_window_view(padded, len(_KERNEL), axis=-1) @ _KERNEL
    return np.asarray(pi / pi.sum((1, 2), keepdims=True))


def _em(table: Floats, start: Floats, prior: Floats) -> Floats:
    pi = start
    for _ in range(_ITERATIONS if len(table) else 0):
        pi = pi * ((1 / np.maximum(table @ pi, 1e-300)) @ table) + prior
        pi /= pi.sum()
    return pi


def _bins(mean: Floats, fitted: NDArray[np.bool_]) -> tuple[Ints, int]:
    """([M] which bin of means each prompt is in, how many there are): as many prompts in each as tell its stds and shapes."""
    n_bins = int(np.clip(fitted.sum() // _FEWEST_IN_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(mean[fitted], np.arange(1, n_bins) / n_bins)) if n_bins > 1 else np.zeros(0)
    return np.searchsorted(edges, np.nan_to_num(mean)), len(edges) + 1


def _check(rest: Rest, prompt: Ints, reward: Floats) -> tuple[float, int]:
    """How far rewards and replicates differ, beyond chance, in what does not depend on mean and std: skew, longest gap, range."""
    rows = np.flatnonzero(rest.n >= _CHECKED_FROM)
    rng = np.random.default_rng(0)
    if len(rows) > _MOST_CHECKED:
        rows = rng.choice(rows, _MOST_CHECKED, replace=False)
    seen, replicated = [], []
    starts = np.cumsum(rest.n) - rest.n
    kind = np.zeros(len(rest.n), np.int64)
    if len(rows):
        kind[rows] = rest._posterior(rows, 1, rng)[2][:, 0]
    for n in np.unique(rest.n[rows]):
        mine = rows[rest.n[rows] == n]
        seen.append(_features(reward[starts[mine, None] + np.arange(n)]))
        replicated.append(_features(np.sort(shapes().sample(kind[mine], int(n), rng), axis=-1)))
    if not seen:
        return 0.0, 0
    ours, theirs = np.concatenate(seen), np.concatenate(replicated)
    distance = max(_distance(a, b) for a, b in zip(ours.T, theirs.T, strict=True))
    return max(distance - _BY_CHANCE * np.sqrt(2 / len(rows)), 0.0), len(rows)


def _features(x: Floats) -> Floats:
    """[R, 3] of ascending rewards [R, n]: (mean - median) / std, longest gap / range, range / std."""
    std, span = x.std(-1), np.maximum(x[:, -1] - x[:, 0], 1e-300)
    return np.stack(
        [(x.mean(-1) - np.median(x, -1)) / np.maximum(std, 1e-300), np.diff(x).max(-1) / span, span / np.maximum(std, 1e-300)], -1
    )


def _distance(a: Floats, b: Floats) -> float:
    """Kolmogorov-Smirnov distance of two samples."""
    every = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(np.sort(a), every, "right") / len(a) - np.searchsorted(np.sort(b), every, "right") / len(b)).max())
