"""Posterior draws of each prompt's reward distribution: weights over the categories; mean, variance and shape of each rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.dictionary import Dictionary, fit_dictionary
from flatspot.stats.models.parts import Parts, heights
from flatspot.stats.models.shapes import shapes


@dataclass(frozen=True)
class Moments:
    """Posterior draws of R prompts.

    mean, std   [R, draws] of the reward
    ties        [R, draws, ..] weights of the values that two completions can have in common
    weights     [R, draws, A + 1 + Q] of all categories
    own         [R, draws] the prompt's own value
    rest_mean, rest_variance, rest_shape  [R, draws, Q] of each rest
    known, known_weight  [R, draws, L] rewards beside the categories, and their weights
    """

    mean: Floats
    std: Floats
    ties: Floats
    weights: Floats
    own: Floats
    rest_mean: Floats
    rest_variance: Floats
    rest_shape: Ints
    known: Floats
    known_weight: Floats

    def at(self, some: NDArray[np.bool_]) -> Moments:
        """The draws that `some` [R, draws] marks, as one row of them."""
        return Moments(*(getattr(self, f.name)[some] for f in fields(self)))


def moments(parts: Parts, rows: Ints, prior: Dictionary, draws: int, rng: np.random.Generator) -> Moments:
    """Posterior draws of the prompts `rows`."""
    weights = prior.draw(parts.counts[rows][:, parts.used], draws, rng)
    rests = [rest.draw(rows, draws, rng) for rest in parts.rests]
    return _assembled(parts, rows[:, None], weights, rests)


def moments_of_vectors(parts: Parts, vectors: Floats, rows: Ints) -> Moments:
    """What prompts with these weights [J, used] would be, where everything else is that of each of `rows`, one draw of it: [J, rows]."""
    rng, shape = np.random.default_rng(0), (len(vectors), len(rows))
    drawn = [rest.draw(rows, 1, rng) for rest in parts.rests]
    rests = [(np.broadcast_to(m[:, 0], shape), np.broadcast_to(v[:, 0], shape), np.broadcast_to(h[:, 0], shape)) for m, v, h in drawn]
    return _assembled(parts, rows[None], np.broadcast_to(vectors[:, None], (*shape, vectors.shape[1])), rests)


def _assembled(parts: Parts, rows: Ints, of_used: Floats, rests: Sequence[tuple[Floats, Floats, Ints]]) -> Moments:
    weights = np.zeros((*of_used.shape[:2], parts.counts.shape[1]))
    weights[..., parts.used] = of_used
    rest_mean = np.stack([mean for mean, _, _ in rests], -1)
    rest_variance = np.stack([variance for _, variance, _ in rests], -1)
    rest_shape = np.stack([shape for _, _, shape in rests], -1)
    none = np.zeros((*weights.shape[:2], 0))
    return put_together(parts, rows, weights, (rest_mean, rest_variance, rest_shape), none, none)


def put_together(
    parts: Parts, rows: Ints, weights: Floats, rest: tuple[Floats, Floats, Ints], known: Floats, known_weight: Floats
) -> Moments:
    """The draws with these weights [R, draws, A + 1 + Q], rests and known rewards, which are none of the prompt's categories."""
    a, at, (rest_mean, rest_variance, rest_shape) = parts.n_atoms, parts.values, rest
    own = np.broadcast_to(parts.own[rows], weights.shape[:2])
    own = np.where(np.isfinite(own), own, rest_mean[..., 0])  # a prompt with no repeated value may yet repeat one of its rest
    of_rest = weights[..., a + 1 :]
    mean = weights[..., :a] @ at + weights[..., a] * own + (of_rest * rest_mean).sum(-1) + (known_weight * known).sum(-1)
    square = weights[..., :a] @ at**2 + weights[..., a] * own**2 + (of_rest * (rest_mean**2 + rest_variance)).sum(-1)
    std = np.sqrt(np.maximum(square + (known_weight * known**2).sum(-1) - mean**2, 0.0))
    ties = weights[..., parts.used[parts.can_tie]]
    if parts.step is not None:  # of rewards that were rounded, the share in the commonest cell
        cell = shapes().largest_cell(rest_shape, parts.step[rows] / np.sqrt(np.maximum(rest_variance, 1e-300)))
        ties = np.concatenate([ties, of_rest * cell], -1)
    if known.shape[-1]:
        ties = np.concatenate([ties, known_weight], -1)
    return Moments(mean, std, ties, weights, own, rest_mean, rest_variance, rest_shape, known, known_weight)


def prior_of(parts: Parts) -> Dictionary:
    """The prior of the category weights, fitted to the set."""
    return fit_dictionary(parts.counts[:, parts.used], heights(parts))


def share_of_draws(indicators: Floats) -> Floats:
    """[M, S] share of posterior draws [M, draws, S] that hold, half a draw short of certain: S draws cannot show less than about 1 / S."""
    draws = indicators.shape[1]
    return np.asarray((indicators.sum(1) + 0.5) / (draws + 1))
