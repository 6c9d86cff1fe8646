"""The weight vectors on which any distribution of graded prompts is laid out: what the grid of p is for binary rewards.

A prompt's rewards fall into V categories with weights w; a set of prompts is a distribution over such w. As no grid covers a simplex of
many categories, the candidates are those that the counts speak of:

    certain   all on one category
    ladders   1 - q on a category that is the commonest of some prompt, and q on one other, or on all others in the shares that such
              prompts show, for q from 1/400 to 1/2: what a few completions cannot tell from certain; and on each ladder either side of
              every q at which a state or a loss changes, for mass just past a limit is what a fit overlooks
    observed  the shares of prompts themselves, at two distances from those of the set
    drawn     draws from the fitted prior
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.dictionary import Dictionary
from flatspot.stats.models.edges import with_edges

Kinds = Callable[[Floats], NDArray[np.bool_]]  # of vectors [J, V]: which states and losses [J, S] hold there

_LADDER = np.array([0.0025, 0.005, 0.01, 0.018, 0.0249, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.38, 0.5])
_MOST_COMMONEST = 8
_MOST_OBSERVED, _DRAWN = 96, 96
MOST_KINDS = 800
_PULLS = (0.3, 2.0)  # pseudo-completions, in the shares of the set
_FLOOR = 1e-4  # of the other categories: a completion nobody expected must not rule every candidate out


@dataclass(frozen=True)
class WeightSet:
    """What a set's counts say of the distribution of weights over its prompts.

    vectors  [J, V] candidates
    table    [C, J] likelihood of each kind of prompt under each
    size     [C] how many prompts of it
    """

    vectors: Floats
    table: Floats
    size: Floats

    @classmethod
    def of(cls, counts: Ints, prior: Dictionary, kinds: Kinds | None = None) -> WeightSet:
        """Of prompts with counts [M, V]; of very many that differ, a sample of the prompts stands for all, which widens the limits."""
        counts = counts[counts.sum(-1) > 0]
        differing, size = np.unique(counts, axis=0, return_counts=True)
        if len(differing) > MOST_KINDS:
            chosen = np.random.default_rng(0).choice(len(counts), MOST_KINDS, replace=False)
            differing, size = np.unique(counts[chosen], axis=0, return_counts=True)
        vectors = weight_vectors(differing, size, prior, kinds)
        return cls(vectors, likelihoods(differing, vectors), size.astype(float))


def weight_vectors(counts: Ints, size: Ints, prior: Dictionary, kinds: Kinds | None = None) -> Floats:
    """[J, V] candidates for kinds of prompts with counts [C, V], `size` [C] of each.

    kinds  where the edges of states and losses lie; None: the ladders have no more than their own steps

    >>> from flatspot.stats.models.dictionary import fit_dictionary
    >>> counts = np.array([[8, 0, 0], [6, 1, 1]])
    >>> w = weight_vectors(counts, np.array([5, 5]), fit_dictionary(counts, np.array([0.0, 0.5, 1.0])))
    >>> bool((w.max(1) > 0.999).any()), bool(np.allclose(w.sum(1), 1)), len(w) > 100
    (True, True, True)
    """
    v = counts.shape[1]
    if v == 1:
        return np.ones((1, 1))
    overall = size @ (counts / counts.sum(-1, keepdims=True))
    overall = (overall + 0.5 / v) / (size.sum() + 0.5)
    rows = [*np.eye(v), overall, *_ladders(counts, size, overall, kinds)]
    rng = np.random.default_rng(0)
    mixed = np.flatnonzero(counts.max(-1) < counts.sum(-1))
    chosen = mixed if len(mixed) <= _MOST_OBSERVED else rng.choice(mixed, _MOST_OBSERVED, replace=False)
    for pull in _PULLS:
        pulled = counts[chosen] + pull * overall
        rows += list(pulled / pulled.sum(-1, keepdims=True))
    alpha = prior.alpha[rng.choice(len(prior.alpha), _DRAWN, p=prior.weights)]
    drawn = rng.standard_gamma(alpha)
    rows += list(drawn / np.maximum(drawn.sum(-1, keepdims=True), 1e-300))
    vectors = np.stack(rows)
    return np.asarray(vectors / vectors.sum(-1, keepdims=True))


def _ladders(counts: Ints, size: Ints, overall: Floats, kinds: Kinds | None) -> Floats:
    """[J, V] the ladders, each with its edges."""
    v = counts.shape[1]
    commonest = np.bincount(counts.argmax(-1), size, v)
    start, end = list[Floats](), list[Floats]()
    for i in np.argsort(-commonest, kind="stable")[: min(_MOST_COMMONEST, int((commonest > 0).sum()))]:
        others = elsewhere(counts, size, overall, int(i))
        partners = [others, *np.eye(v)[np.argsort(-others, kind="stable")[: min(2, v - 1)]]] if v > 2 else [others]
        start += [np.eye(v)[i]] * len(partners)
        end += partners
    feet, tops = np.stack(start), np.stack(end)

    def vectors(at: Floats) -> Floats:
        """Ladder number + q: one axis for all of them."""
        ladder = np.minimum(at.astype(np.int64), len(feet) - 1)
        q = (at - ladder)[:, None]
        return np.asarray((1 - q) * feet[ladder] + q * tops[ladder])

    steps = (np.arange(len(feet))[:, None] + _LADDER).ravel()
    return vectors(steps if kinds is None else with_edges(steps, lambda at: kinds(vectors(at))))


def elsewhere(counts: Ints, size: Ints, overall: Floats, i: int) -> Floats:
    """[V] where the completions that miss category i go, of prompts on which it is the commonest; 0 at i, sum 1.

    One completion in the shares of the set is added, so that a category which no such prompt has shown is still possible.
    """
    mine = counts.argmax(-1) == i
    shares = (size[mine] / np.maximum(counts[mine].sum(-1), 1)) @ counts[mine]
    prior = np.where(np.arange(len(overall)) == i, 0.0, overall)
    total = np.where(np.arange(len(overall)) == i, 0.0, shares) + prior / max(prior.sum(), 1e-300) * 0.2
    return np.asarray(total / total.sum())


def likelihoods(counts: Ints, vectors: Floats) -> Floats:
    """[C, J] probability of each kind's completions in one order under each vector, scaled to a largest of 1 per row."""
    floor = np.maximum(vectors, _FLOOR / vectors.shape[1] * (vectors.max(-1, keepdims=True) < 1))
    with np.errstate(divide="ignore"):
        logs = np.log(floor)
    logs = np.maximum(logs, -1e4)
    log = counts @ logs.T
    return np.asarray(np.exp(log - log.max(-1, keepdims=True)))
