"""Posterior draws of what each prompt's reward distribution is: weights over the categories, and the mean, variance and shape of each rest."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.dictionary import Dictionary, fit_dictionary
from flatspot.stats.models.parts import Parts, heights


@dataclass(frozen=True)
class Moments:
    """Posterior draws of R prompts.

    mean, std   [R, draws] of the reward
    ties        [R, draws, ..] weights of the values that two completions can have in common
    weights     [R, draws, A + 1 + Q] of all categories
    own         [R, draws] the prompt's own value
    rest_mean, rest_variance, rest_shape  [R, draws, Q] of each rest
    """

    mean: Floats
    std: Floats
    ties: Floats
    weights: Floats
    own: Floats
    rest_mean: Floats
    rest_variance: Floats
    rest_shape: Ints

    def at(self, some: NDArray[np.bool_]) -> Moments:
        """The draws that `some` [R, draws] marks, as one row of them."""
        return Moments(*(getattr(self, f.name)[some] for f in fields(self)))


def moments(parts: Parts, rows: Ints, prior: Dictionary, draws: int, rng: np.random.Generator) -> Moments:
    """Posterior draws of the prompts `rows`."""
    used, a = parts.used, parts.n_atoms
    weights = np.zeros((len(rows), draws, parts.counts.shape[1]))
    weights[..., used] = prior.draw(parts.counts[rows][:, used], draws, rng)
    rests = [rest.draw(rows, draws, rng) for rest in parts.rests]
    rest_mean, rest_variance, rest_shape = (np.stack(column, -1) for column in zip(*rests, strict=True))
    own = np.broadcast_to(parts.own[rows, None], weights.shape[:2])
    own = np.where(np.isfinite(own), own, rest_mean[..., 0])  # a prompt with no repeated value may yet repeat one of its rest
    of_rest, at = weights[..., a + 1 :], parts.values
    mean = weights[..., :a] @ at + weights[..., a] * own + (of_rest * rest_mean).sum(-1)
    square = weights[..., :a] @ at**2 + weights[..., a] * own**2 + (of_rest * (rest_mean**2 + rest_variance)).sum(-1)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    return Moments(mean, std, weights[..., used[parts.can_tie]], weights, own, rest_mean, rest_variance, rest_shape)


def prior_of(parts: Parts) -> Dictionary:
    """The prior of the category weights, fitted to the set."""
    return fit_dictionary(parts.counts[:, parts.used], heights(parts))
