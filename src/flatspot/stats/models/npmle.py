"""Mixing distributions of success probabilities over a grid: nonparametric maximum likelihood (NPMLE), smoothed, and to the last digit.

Model: s_x | p_x ~ Bin(n_x, p_x), p_x ~ g, with g any distribution on `GRID`: {0, 161 points even in logit over [-8, 8], 1}.

`fit_mixture` is what prompts are judged under: EM over the distinct (n, s) pairs, a little smoothed. Every prompt is judged under the g
fitted to the others plus itself; in sets of under 200 prompts, under the g fitted to the others alone, so that a single prompt does not
vouch for itself.

`fit_npmle` is for limits by profile likelihood, which compare log likelihoods to within one or two in all. EM gains ever less per step and
leaves much more than that in large sets, so it is Newton's method on

    sum_c w_c log(L g)_c + e sum_k log g_k,      sum_k g_k = 1,

with likelihoods L [C, K] of C kinds of prompts, w of each, and e > 0 pseudo-prompts at each point, which keep g off zero. In the logarithm
of g the curvature is B'B + e I with B = sqrt(w / (L g)^2) L g, so a step costs K^2 (C + K / 3); about fifty of them do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, xlog1py, xlogy

from flatspot.stats.evidence import Floats, Ints, distinct
from flatspot.stats.threads import one_thread

GRID: Floats = np.r_[0.0, expit(np.linspace(-8.0, 8.0, 161)), 1.0]
# Smoothing: 2% of the set spread evenly over the grid, and one pseudo-prompt spread evenly over p, which is what a set of one has.
_EVEN_SHARE = 0.02
_ITERATIONS = 300
_LEAVE_ONE_OUT_BELOW = 200

_FIRST_SHARE = 0.02  # of the prompts as pseudo-prompts, where the descent begins; a tenth each time until `pseudo` is reached
_EM_STEPS = 30
_MOST_STEPS = 60
_ROUGH, _FINE = 1e-2, 1e-3  # how much log likelihood may be left
_NEARLY = 0.95  # of the way to a point of no mass, at most


@dataclass(frozen=True)
class Mixture:
    """The fitted distribution of success probabilities over a set of prompts.

    weights  [163] mass of g on `GRID`
    n, hits  [C] the distinct (completions, ones) pairs of the set
    size     [C] how many prompts have each
    judging  [C, 163] the g each pair is judged under (leave-one-out in small sets)
    """

    weights: Floats
    n: Ints
    hits: Ints
    size: Ints
    judging: Floats

    def posterior(self, pair: Ints) -> Floats:
        """[.., 163] distribution of p for prompts with these (n, hits) pairs."""
        return weigh(self.judging[pair], likelihood(self.n[pair], self.hits[pair]))


def likelihood(n: Floats | Ints, hits: Floats | Ints, at: Floats = GRID) -> Floats:
    """[C, len(at)] probability of the pattern of `hits` ones in `n` draws at each p of `at`, scaled to a row maximum of 1."""
    log = xlogy(hits[:, None], at) + xlog1py((n - hits)[:, None], -at)
    return np.asarray(np.exp(log - log.max(-1, keepdims=True)))


def weigh(g: Floats, table: Floats) -> Floats:
    """[C, 163] distribution of p under g [163] or [C, 163], for prompts with these likelihoods [C, 163]."""
    joint = g * table
    return np.asarray(joint / joint.sum(-1, keepdims=True))


def flat_prior() -> Floats:
    """[163] p spread evenly: what g is before any prompt."""
    edges = np.r_[0.0, (GRID[1:] + GRID[:-1]) / 2, 1.0]
    return np.diff(edges)


def fit_mixture(n: Ints, hits: Ints) -> tuple[Mixture, Ints]:
    """Fit g to every prompt with n > 0; returns the mixture and each prompt's index into its (n, hits) pairs.

    >>> mixture, pair = fit_mixture(np.array([16] * 60), np.array([0] * 40 + [16] * 20))
    >>> float(mixture.weights[GRID < 0.05].sum().round(2)), float(mixture.weights[GRID > 0.95].sum().round(2))
    (0.65, 0.33)
    """
    (kind_n, kind_hits), pair, size = distinct(n, hits)
    weights = fit_pairs(kind_n, kind_hits, size)
    if size.sum() < _LEAVE_ONE_OUT_BELOW:
        judging = _fit(_key(kind_n, kind_hits, size), each_left_out=True)
    else:
        judging = np.broadcast_to(weights, (len(size), len(GRID)))
    return Mixture(weights, kind_n, kind_hits, size, judging), pair


def fit_pairs(n: Floats | Ints, hits: Floats | Ints, size: Ints) -> Floats:
    """[163] g fitted to `size[i]` prompts with `hits[i]` ones in `n[i]` draws, nothing left out.

    >>> g = fit_pairs(np.array([16, 16]), np.array([0, 16]), np.array([40, 20]))
    >>> float(g[GRID < 0.05].sum().round(2)), float(g[GRID > 0.95].sum().round(2))
    (0.65, 0.33)
    """
    return np.asarray(_fit(_key(n, hits, size), each_left_out=False)[0])


def _key(n: Floats | Ints, hits: Floats | Ints, size: Ints) -> bytes:
    return np.stack([n, hits, size]).astype(float).tobytes()


@lru_cache(maxsize=4)
def _fit(counts: bytes, *, each_left_out: bool) -> Floats:
    """[B, 163] g of these counts, or with one prompt of each kind left out. Remembered: the judge fits what sampling ended with."""
    n, hits, size = np.frombuffer(counts).reshape(3, -1)
    g = _em(likelihood(n, hits), size[None] - np.eye(len(size)) if each_left_out else size[None])
    g.flags.writeable = False
    return g


@one_thread
def _em(table: Floats, size: Floats, pseudo: Floats | None = None, *, start: Floats | None = None, iterations: int = _ITERATIONS) -> Floats:
    """EM for many weightings at once: table [C, k], size [B, C], pseudo-prompts [B, k] -> g [B, k]."""
    total = size.sum(-1, keepdims=True)
    prior = _EVEN_SHARE * total / len(GRID) + (flat_prior() if pseudo is None else pseudo)
    g = np.broadcast_to(1 / len(GRID) if start is None else start, (len(size), len(GRID))).copy()
    for _ in range(iterations):
        expected = (size / np.maximum(g @ table.T, 1e-300)) @ table
        g *= expected
        g += prior
        g /= g.sum(-1, keepdims=True)
    return g


@one_thread
def fit_npmle(table: Floats, size: Floats, *, pseudo: float = 1.0, start: Floats | None = None) -> Floats:
    """The g [K] under which kinds of prompts with likelihoods `table` [C, K], `size` [C] of each, are most likely.

    pseudo  pseudo-prompts, spread evenly over the grid
    start   a g > 0 that is near; where it turns out too far, it is not used

    >>> fit_npmle(np.array([[1.0, 0.5], [0.0, 0.5]]), np.array([75.0, 25.0]), pseudo=1e-6).round(4).tolist()  # g_1 / 2 = 25%
    [0.5, 0.5]
    """
    width = table.shape[1]
    even = pseudo / width
    if start is not None:
        g, there = _climb(table, size, even, start, _FINE)
        if there:
            return g
    smooth = max(even, _FIRST_SHARE * float(size.sum()) / width)
    g = np.full(width, 1 / width)
    for _ in range(_EM_STEPS):
        g = g * ((size / (table @ g)) @ table) + smooth
        g /= g.sum()
    while smooth > even:
        g = _climb(table, size, smooth, g, _ROUGH)[0]
        smooth = max(even, smooth / 10)
    return _climb(table, size, even, g, _FINE)[0]


def _climb(table: Floats, size: Floats, even: float, g: Floats, left: float) -> tuple[Floats, bool]:
    """Newton's steps with backtracking; the g reached, and whether it is within `left` of the top."""
    width = len(g)
    total = float(size.sum()) + even * width  # with this as the price of mass, sum g = 1 at the top
    height = _height(table, size, even, total, g)
    for _ in range(_MOST_STEPS):
        mix = table @ g
        slope = g * ((size / mix) @ table) + even - total * g
        rows = table * g * (np.sqrt(size) / mix)[:, None]
        curvature = rows.T @ rows
        curvature[np.diag_indices(width)] += even
        step = cho_solve(cho_factor(curvature, check_finite=False), slope, check_finite=False)
        gain = float(slope @ step)
        if gain < 2 * left:
            return g / g.sum(), True
        length = min(1.0, _NEARLY / max(float(-step.min()), 1e-300))
        while length > 1e-8:
            higher = _height(table, size, even, total, g * (1 + length * step))
            if higher >= height + 0.1 * length * gain:
                g, height = g * (1 + length * step), higher
                break
            length /= 2
        else:
            break
    return g / g.sum(), False


def _height(table: Floats, size: Floats, even: float, total: float, g: Floats) -> float:
    return float(size @ np.log(table @ g) + even * np.log(g).sum() - total * g.sum())
