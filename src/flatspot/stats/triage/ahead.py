"""When to stop drawing a prompt part of whose completions are known: looking ahead over the draws that will be new.

A draw is new with probability u, and only then says something: a new draw costs c / u. From the posterior over t, the share of the unseen
mass that succeeds (`stats.models.cut`), the sweep is that of `stopping`, with the new draws to come in the place of all draws:

    J_L(s) = R(L, s),      J_n(s) = min{ R(n, s),  c / u + m J_{n+1}(s + 1) + (1 - m) J_{n+1}(s) }.

That each new draw also makes u smaller is left out, so that a draw is worth a little more than is reckoned here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats
from flatspot.stats.first_draws import Scaled
from flatspot.stats.models.cut import SHARES, cut_to_proof
from flatspot.stats.models.edges import states_and_losses
from flatspot.stats.zones import Zones

Flags = NDArray[np.bool_]

_AHEAD = 32  # new draws
_AT_ONCE = 400  # prompts, to bound memory
_NOTHING = 1e-6  # of the mass unseen: no draw is new


@dataclass(frozen=True)
class Ahead:
    """Of P prices and m prompts: whether one more draw is worth its price, the loss at the end, and the further draws until then."""

    go: Flags
    error: Floats
    draws: Floats


@dataclass(frozen=True)
class KnownPrompts:
    """The prompts that are judged by their new draws.

    rows   [M] which they are: m of all M
    new    their new draws
    zones, low, high  the limits between the states, and the two rewards
    """

    rows: Flags
    new: Scaled
    zones: Zones
    low: float
    high: float

    def some(self, most: int) -> tuple[KnownPrompts, float]:
        """At most so many of them, evenly chosen, and how many each of these stands for."""
        at = np.flatnonzero(self.rows)
        if len(at) <= most:
            return self, 1.0
        chosen = np.zeros(len(at), bool)
        chosen[np.linspace(0, len(at) - 1, most).astype(np.int64)] = True
        rows = np.zeros(len(self.rows), bool)
        rows[at[chosen]] = True
        scaled = self.new.of.subset(chosen).within(self.zones.lo, self.zones.hi)
        return KnownPrompts(rows, scaled, self.zones, self.low, self.high), len(at) / float(chosen.sum())

    def ahead(self, g: Floats, prices: Floats) -> Ahead:
        """What the optimal rule under g [163] does at each price."""
        m = int(self.rows.sum())
        parts = [self._part(np.arange(m) // _AT_ONCE == block, g, prices) for block in range(-(-m // _AT_ONCE))]
        if not parts:
            none = np.zeros((len(prices), 0))
            return Ahead(none.astype(bool), none, none)
        return Ahead(*(np.concatenate([getattr(part, name) for part in parts], -1) for name in ("go", "error", "draws")))

    def _part(self, rows: Flags, g: Floats, prices: Floats) -> Ahead:
        new = self.new if rows.all() else self.new.of.subset(rows).within(self.zones.lo, self.zones.hi)
        cut, unseen = cut_to_proof(g, new), np.diff(new.proved)[:, 0]
        loss = states_and_losses(cut.p, self.zones, self.low, self.high)[1]
        return look_ahead(cut.chance, loss, prices[:, None] / np.maximum(unseen, _NOTHING), unseen)


def look_ahead(chance: Floats, loss: Floats, price: Floats, unseen: Floats, steps: int = _AHEAD) -> Ahead:
    """Over at most `steps` new draws.

    chance : [m, T] of each share t of `SHARES`;  loss : [m, T, D];  price : [P, m] of a new draw;  unseen : [m]
    """
    n, s = np.tril_indices(steps + 1)  # row n, column s <= n
    like = SHARES ** s[:, None] * (1 - SHARES) ** (n - s)[:, None]
    total = chance @ like.T
    total = np.where(total > 0, total, 1.0)  # a state that cannot be reached
    chances = (chance * SHARES) @ like.T / total
    risk = np.min([(chance * loss[:, :, d]) @ like.T / total for d in range(loss.shape[-1])], axis=0)
    at = np.concatenate([[0], np.cumsum(np.arange(1, steps + 2))])  # where each row starts
    value = np.broadcast_to(risk[:, at[steps] : at[steps + 1]], (len(price), *risk[:, at[steps] :].shape))
    error, draws, go = value, np.zeros_like(value), np.zeros(value.shape, bool)
    for row in range(steps - 1, -1, -1):
        m, least = chances[:, at[row] : at[row + 1]], risk[:, at[row] : at[row + 1]]
        onwards = price[:, :, None] + m * value[..., 1:] + (1 - m) * value[..., :-1]
        go = onwards < least - 1e-12
        value = np.where(go, onwards, least)
        error = np.where(go, m * error[..., 1:] + (1 - m) * error[..., :-1], least)
        draws = np.where(go, 1 + m * draws[..., 1:] + (1 - m) * draws[..., :-1], 0.0)
    return Ahead(go[..., 0], error[..., 0], draws[..., 0] / np.maximum(unseen, _NOTHING))
