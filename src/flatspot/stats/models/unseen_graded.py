"""The reward distribution of graded prompts part of whose completions are known: what is known as it is, the rest as new draws tell.

    w = C + u t,      C the known mass on each reward, u = 1 - sum C what is unseen, t its rewards

A completion that is drawn again says nothing of t, so the prior is fitted to the distinct completions, each of which counts once, and gives
a draw G of what the prompt's completions earn. What is unseen is so many completions more, not all of them: with probabilities v_k they
have the share l = sum v_k^2 of their mass in common, and rewards of G each, so that t has the mean G and the variance l G (1 - G):

    t ~ Dirichlet((1 / l - 1) G),      l = FirstDraws.alike

and of a continuous part, its mean varies by l times its variance. Derived here; `stats.models.unseen_binary` is the same for 0/1 rewards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.stats.evidence import Evidence, Floats, Ints, evidence_of_rows
from flatspot.stats.first_draws import FirstDraws
from flatspot.stats.known_mass import KnownMass
from flatspot.stats.models.moments import Moments, put_together
from flatspot.stats.models.parts import Parts

_LEAST = 1e-12


@dataclass(frozen=True)
class Unseen:
    """Of M prompts: what is unseen of each, and what is known beside it.

    mass    [M] that is unseen: u
    alike   [M] the probability that two draws of it are the same completion: l
    values  [M, L] the known rewards, padded
    known   [M, L] the mass on each; 0 where it is padded
    """

    mass: Floats
    alike: Floats
    values: Floats
    known: Floats

    @classmethod
    def of(cls, known: KnownMass, firsts: FirstDraws) -> Unseen:
        """What the known mass leaves open."""
        m, place = known.n_prompts, _places(known.prompt)
        width = int(place.max(initial=0)) + 1
        values, mass = np.zeros((m, width)), np.zeros((m, width))
        values[known.prompt, place], mass[known.prompt, place] = known.reward, known.mass
        return cls(np.maximum(1 - known.total, 0.0), firsts.alike, values, mass)


def evidence_of_new(firsts: FirstDraws) -> Evidence:
    """The rewards of the distinct completions, each of which counts once."""
    return evidence_of_rows(firsts.prompt, firsts.reward, len(firsts.n))


def with_known(draws: Moments, parts: Parts, unseen: Unseen, rows: Ints, rng: np.random.Generator) -> Moments:
    """The draws G of the prompts `rows`, each made a draw of the whole distribution: C + u t."""
    alike = unseen.alike[rows][:, None, None]
    weights = unseen.mass[rows][:, None, None] * _of_few(draws.weights, alike, rng)
    common = np.minimum(1.0, alike / np.maximum(draws.weights[..., parts.n_atoms + 1 :], _LEAST))
    off = np.sqrt(common * draws.rest_variance) * rng.standard_normal(draws.rest_mean.shape)
    rest = (draws.rest_mean + off, draws.rest_variance * (1 - common), draws.rest_shape)
    in_categories, others = _sorted_into(parts, unseen, rows)
    weights[..., : in_categories.shape[-1]] += in_categories[:, None]
    some = (others > 0).any(0)
    known, known_weight = (np.broadcast_to(x[:, None, some], (*weights.shape[:2], some.sum())) for x in (unseen.values[rows], others))
    return put_together(parts, rows[:, None], weights, rest, known, known_weight)


def _of_few(shares: Floats, alike: Floats, rng: np.random.Generator) -> Floats:
    """[R, draws, V] Dirichlet draws around the shares: those of few completions of such a prompt."""
    drawn = rng.standard_gamma((1 / alike - 1) * shares)
    total = drawn.sum(-1, keepdims=True)
    passed = shares.cumsum(-1) >= rng.random((*shares.shape[:2], 1)) * shares.sum(-1, keepdims=True)
    one = np.arange(shares.shape[-1]) == passed.argmax(-1)[..., None]
    return np.asarray(np.where(total > 0, drawn / np.where(total > 0, total, 1.0), one))  # too small for a float: all on one


def _sorted_into(parts: Parts, unseen: Unseen, rows: Ints) -> tuple[Floats, Floats]:
    """[R, A + 1] the known mass on the atoms and on the prompt's own value, and [R, L] on the rewards that are neither."""
    places = np.column_stack([np.broadcast_to(parts.values, (len(rows), parts.n_atoms)), parts.own[rows]])
    same = unseen.values[rows][:, :, None] == places[:, None]
    known = unseen.known[rows]
    return (known[:, :, None] * same).sum(1), np.where(same.any(-1), 0.0, known)


def _places(prompt: Ints) -> Ints:
    """[E] the place of each entry among those of its prompt; entries come by prompt."""
    first = np.r_[True, prompt[1:] != prompt[:-1]] if len(prompt) else np.zeros(0, bool)
    at = np.arange(len(prompt))
    return at - at[first][np.cumsum(first) - 1] if len(prompt) else at
