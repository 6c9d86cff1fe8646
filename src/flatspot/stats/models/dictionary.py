"""A prior for rewards with a handful of values: a mixture of many fixed Dirichlet distributions, only their weights fitted to the set.

Model: a prompt's rewards fall into V categories with weights w ~ sum_j g_j Dirichlet(alpha_j). The alpha_j are a fixed dictionary: close to
certain of one category at several distances, with the others in the shares of the set or of the prompts that have this one in common;
around one category and its neighbors in order; and broad around the mean shares of all, low, middling and high prompts at several
concentrations. The likelihood is concave in g, so EM finds the fit from any start, and a set that mixes all-low, all-high and mixed
prompts gets a prior with those three parts, which one Dirichlet cannot have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.threads import one_thread

# how far from certain a prompt's commonest category may be, and how alike prompts at that distance are; the first is all but certain
_DISTANCES = ((0.0005, 1000.0), *((eta, a) for eta in (0.02, 0.05, 0.1, 0.2, 0.35) for a in (8.0, 60.0)))
_CONCENTRATIONS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_MOST_SPIKES = 8
_ITERATIONS = 200
_EVEN_SHARE = 0.02
_TINY = 1e-6
_PULL = 3.0  # completions of the shares of the set, among those of the prompts that have one category in common
_FEWEST_ORDERED, _LOCAL_MIDDLES, _LOCAL_WIDTHS, _LOCAL_CONCENTRATIONS = 5, 16, (0.6, 1.5, 4.0), (8.0, 60.0)


@dataclass(frozen=True)
class Dictionary:
    """J Dirichlet distributions over V categories and how much of the set each explains.

    alpha    [J, V]
    weights  [J] mass of the fitted prior
    n_fitted how many prompts it was fitted to
    """

    alpha: Floats
    weights: Floats
    n_fitted: int

    def responsibilities(self, counts: Ints) -> Floats:
        """[R, J] which component each prompt's weights come from, under the prior fitted to the *other* prompts.

        Leaving a prompt out takes its own share off the weights, (M g - r) / (M - 1): one step of the refit, not the whole of it.
        """
        log = log_marginals(self.alpha, counts)
        like = np.exp(log - log.max(-1, keepdims=True))
        own = like * self.weights
        own /= own.sum(-1, keepdims=True)
        floor = (_EVEN_SHARE + 1 / (1 + self.n_fitted)) / len(self.alpha)
        others = np.maximum(self.n_fitted * self.weights - own, 0.0) / max(self.n_fitted - 1, 1) + floor
        joint = like * others
        return np.asarray(joint / joint.sum(-1, keepdims=True))

    def log_evidence(self, counts: Ints) -> float:
        """Log probability of all prompts' completions, each in one order."""
        rows, size = np.unique(counts, axis=0, return_counts=True)
        log = log_marginals(self.alpha, rows)
        top = log.max(-1, keepdims=True)
        return float(size @ (np.log(np.exp(log - top) @ self.weights) + top[:, 0]))

    def draw(self, counts: Ints, draws: int, rng: np.random.Generator) -> Floats:
        """[R, draws, V] posterior draws of each prompt's category weights."""
        if self.alpha.shape[1] == 1:
            return np.ones((len(counts), draws, 1))
        edges = np.cumsum(self.responsibilities(counts), -1)
        edges[:, -1] = 1.0
        # stratified: the components come up in proportion, which halves the noise of a plain draw
        at = (np.arange(draws) + rng.random((len(counts), 1))) / draws
        component = (at[:, :, None] > edges[:, None, :]).sum(-1) if len(self.alpha) < 2 else _pick(edges, at)
        weights = rng.standard_gamma(self.alpha[component] + counts[:, None, :])
        return np.asarray(weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300))


def _pick(edges: Floats, at: Floats) -> Ints:
    shifted = edges + np.arange(len(edges))[:, None]  # row r of the edges lies in (r, r + 1], so one search serves all rows
    found = np.searchsorted(shifted.reshape(-1), (at + np.arange(len(at))[:, None]).reshape(-1))
    return np.asarray(np.clip(found.reshape(at.shape) - np.arange(len(at))[:, None] * edges.shape[1], 0, edges.shape[1] - 1))


def log_marginals(alpha: Floats, counts: Ints) -> Floats:
    """[R, J] log probability of each row of counts [R, V], as one ordered sequence, under each Dirichlet-multinomial [J, V].

    >>> float(np.exp(log_marginals(np.array([[1.0, 1.0]]), np.array([[2, 1]])))[0, 0].round(6))  # Beta(1, 1): 2! 1! / 4!
    0.083333
    """
    total, n = alpha.sum(-1), counts.sum(-1)
    steps = np.arange(int(n.max(initial=0)) + 1)[:, None]
    log: Floats = (gammaln(total) - gammaln(total + steps))[n]
    for v in range(alpha.shape[1]):
        log = log + (gammaln(alpha[:, v] + steps) - gammaln(alpha[:, v]))[counts[:, v]]
    return log


@one_thread
def fit_dictionary(counts: Ints, score: Floats) -> Dictionary:
    """Fit the weights to prompts with counts [M, V]; score [V] orders the categories from low to high.

    >>> rng = np.random.default_rng(0)
    >>> d = fit_dictionary(np.repeat([[8, 0, 0], [0, 0, 8]], 50, axis=0), np.array([0.0, 0.5, 1.0]))
    >>> draws = d.draw(np.array([[4, 0, 0]]), 400, rng)
    >>> bool(draws[0, :, 0].mean() > 0.98)
    True
    """
    rows, size = np.unique(counts[counts.sum(-1) > 0], axis=0, return_counts=True)
    alpha = _components(rows, size, score)
    log = log_marginals(alpha, rows)
    like = np.exp(log - log.max(-1, keepdims=True))
    g = np.full(len(alpha), 1 / len(alpha))
    even = (_EVEN_SHARE * size.sum() + 1) / len(alpha)
    for _ in range(_ITERATIONS):
        g = g * ((size / np.maximum(like @ g, 1e-300)) @ like) + even
        g /= g.sum()
    return Dictionary(alpha, g, int(size.sum()))


def _components(rows: Ints, size: Ints, score: Floats) -> Floats:
    v = rows.shape[1]
    shares = rows / rows.sum(-1, keepdims=True)

    def center(weight: Floats) -> Floats:
        return np.asarray((weight @ shares + 0.5 / v) / (weight.sum() + 0.5))

    overall = center(size.astype(float))
    height = shares @ score
    low, high = np.quantile(height, [1 / 3, 2 / 3]) if len(rows) else (0.0, 0.0)
    thirds = [center(size * inside) for inside in (height <= low, (height > low) & (height < high), height >= high)]
    broad = [a * c for c in (overall, np.full(v, 1 / v), *thirds) for a in _CONCENTRATIONS]
    certain = np.argsort(-overall, kind="stable")[:_MOST_SPIKES]
    if v > _MOST_SPIKES:  # the ends decide between vanishing and solved, however rare
        certain = np.unique(np.r_[certain[: _MOST_SPIKES - 2], np.argmin(score), np.argmax(score)])
    spikes = []
    for i in certain:
        others = [_elsewhere(rows, size, overall, int(i), pull) for pull in ((np.inf, _PULL) if v > 2 else (np.inf,))]
        spikes += [a * ((1 - eta) * (np.arange(v) == i) + eta * other) for other in others for eta, a in _DISTANCES]
    return np.asarray(np.maximum(np.stack([*broad, *spikes, *_local(overall, score)]), _TINY))


def _elsewhere(rows: Ints, size: Ints, overall: Floats, i: int, pull: float) -> Floats:
    """[V] where completions that miss i go on prompts whose commonest category it is; `pull` more go as the set's do."""
    of_set = np.where(np.arange(len(overall)) == i, 0.0, overall)
    of_set /= max(of_set.sum(), 1e-300)
    if np.isinf(pull):
        return of_set
    mine = rows.argmax(-1) == i
    total = np.where(np.arange(len(overall)) == i, 0.0, size[mine] @ rows[mine]) + pull * of_set
    return np.asarray(total / total.sum())


def _local(overall: Floats, score: Floats) -> list[Floats]:
    """Prompts whose rewards lie around one category: ordered ones, such as scores from 1 to 10, come with their neighbors."""
    v = len(overall)
    if v < _FEWEST_ORDERED:
        return []
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    order = np.argsort(score, kind="stable")
    middles = np.unique(np.searchsorted(np.cumsum(overall[order]), (np.arange(_LOCAL_MIDDLES) + 0.5) / _LOCAL_MIDDLES).clip(0, v - 1))
    centers = [np.exp(-0.5 * ((rank - middle) / width) ** 2) for middle in middles for width in _LOCAL_WIDTHS]
    return [a * c / c.sum() for c in centers for a in _LOCAL_CONCENTRATIONS]
