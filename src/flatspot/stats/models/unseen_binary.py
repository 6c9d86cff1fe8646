"""Binary prompts part of whose completions are known: what they succeed in as it is, the rest as new draws tell.

    p = C + u t,      C the known mass that succeeds, u what is unseen, t the share of that which succeeds

A completion that is drawn again says nothing of t. Every distinct completion of a prompt succeeds with the same probability G ~ g, which is
fitted to the distinct completions of all prompts, each of which counts once. Of a prompt with n of them, s of which succeeded,

    G ~ g(G) G^s (1 - G)^(n - s),      t ~ Beta((1 / l - 1) G, (1 / l - 1) (1 - G)):

what is unseen is so many completions more, two draws of which are the same with probability l (`FirstDraws.alike`), so that t has mean G
and the variance l G (1 - G).

It is told at the points t of `SHARES`: whatever is open, it is divided evenly. `stats.models.unseen_graded` is the same for graded rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, expit

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.first_draws import FirstDraws
from flatspot.stats.models.npmle import GRID, Mixture, fit_mixture

SHARES: Floats = np.r_[0.0, expit(np.linspace(-6.0, 6.0, 59)), 1.0]
FEWEST_KNOWN = 0.05  # known mass: below it a new draw is much like any draw, and the counts tell all there is
_ALIKE: Floats = np.geomspace(1e-4, 0.999, 60)
_LEAST = 1e-10  # of a shape of Beta


@dataclass(frozen=True)
class OpenShare:
    """The success probabilities that m prompts may have, and how probable each is.

    p       [m, T] points of [C, C + u], ascending
    chance  [m, T] sums to 1
    """

    p: Floats
    chance: Floats

    def expect(self, values: Floats) -> Floats:
        """[m, …] mean of values [m, T, …] at the points."""
        return np.asarray(np.einsum("mt,mt...->m...", self.chance, values))


@dataclass(frozen=True, eq=False)
class NewDraws:
    """What the new draws of M prompts tell, some of which have none.

    mixture  g, fitted to those that have some
    pair     [M] the (n, s) pair of it that each prompt is; meaningless without a new draw
    alike    [M] place in `_ALIKE`
    proved   [M, 2] C and C + u
    """

    mixture: Mixture
    pair: Ints
    alike: Ints
    proved: Floats

    @classmethod
    def of(cls, firsts: FirstDraws, lo: float, hi: float) -> NewDraws:
        """Of rewards that are lo or hi.

        >>> firsts = FirstDraws(np.array([0, 1]), np.array([0.0, 1.0]), np.array([0.9, 0.6]), np.array([0, 0]), np.array([16, 16]))
        >>> share = NewDraws.of(firsts, 0.0, 1.0).open_share(np.array([0]))
        >>> float(share.p.max().round(3)), float(share.chance.sum().round(3))
        (0.1, 1.0)
        """
        new, m = firsts.within(lo, hi), len(firsts.n)
        n = np.bincount(firsts.prompt, minlength=m)
        hits = np.rint(np.bincount(firsts.prompt, new.x, m)).astype(np.int64)
        mixture, of_some = fit_mixture(n[n > 0], hits[n > 0])
        pair = np.zeros(m, np.int64)
        pair[n > 0] = of_some
        alike = np.abs(np.log(_ALIKE) - np.log(firsts.alike)[:, None]).argmin(-1)
        return cls(mixture, pair, alike, new.proved)

    def open_share(self, rows: Ints) -> OpenShare:
        """Of prompts that have a new draw."""
        of_prompt, alike = self._of_pairs[self.pair[rows]], self.alike[rows]
        chance = np.empty((len(rows), len(SHARES)))
        for place in np.unique(alike):
            chance[alike == place] = of_prompt[alike == place] @ _spread(int(place))
        lo, hi = self.proved[rows].T[..., None]
        return OpenShare(lo + (hi - lo) * SHARES, chance)

    def unseen(self, rows: Ints) -> Floats:
        """[m] u."""
        return np.asarray(np.diff(self.proved[rows])[:, 0])

    @cached_property
    def _of_pairs(self) -> Floats:
        """[C, 163] the distribution of G for each pair."""
        return self.mixture.posterior(np.arange(len(self.mixture.n)))


@lru_cache(maxsize=len(_ALIKE))
def _spread(place: int) -> NDArray[np.float64]:
    """[163, T] the distribution of t for each G."""
    many = 1 / _ALIKE[place] - 1
    edges = (SHARES[1:] + SHARES[:-1]) / 2
    inside = GRID[1:-1, None]
    below = betainc(np.maximum(many * inside, _LEAST), np.maximum(many * (1 - inside), _LEAST), edges)
    ends = np.zeros((2, len(edges)))
    ends[0] = 1.0  # of G = 0 and G = 1 all of it is there
    up_to = np.vstack([ends[:1], below, ends[1:]])
    return np.diff(up_to, axis=1, prepend=0.0, append=1.0)
