"""When to stop drawing a prompt part of whose completions are known: looking ahead over the draws that will be new.

A draw is new with probability u, and only then says something: a new draw costs c / u. From the posterior over t, the share of the unseen
mass that succeeds (`stats.models.unseen_binary`), the sweep is that of `stopping`, with the new draws to come in the place of all draws:

    J_L(s) = R(L, s),      J_n(s) = min{ R(n, s),  c / u + m J_{n+1}(s + 1) + (1 - m) J_{n+1}(s) }.

That each new draw also makes u smaller is left out, so that a draw is worth a little more than is reckoned here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.edges import states_and_losses
from flatspot.stats.models.unseen_binary import SHARES, NewDraws
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

    rows   [m] which of all prompts they are
    new    what the new draws of all tell
    zones, low, high  the limits between the states, and the two rewards
    """

    rows: Ints
    new: NewDraws
    zones: Zones
    low: float
    high: float

    def some(self, most: int) -> tuple[KnownPrompts, float]:
        """At most so many of them, evenly chosen, and how many each of these stands for."""
        if len(self.rows) <= most:
            return self, 1.0
        chosen = np.linspace(0, len(self.rows) - 1, most).astype(np.int64)
        return replace(self, rows=self.rows[chosen]), len(self.rows) / most

    def ahead(self, prices: Floats) -> Ahead:
        """What the optimal rule does at each price."""
        parts = [self._part(self.rows[start : start + _AT_ONCE], prices) for start in range(0, len(self.rows), _AT_ONCE)]
        if not parts:
            none = np.zeros((len(prices), 0))
            return Ahead(none.astype(bool), none, none)
        return Ahead(*(np.concatenate([getattr(part, name) for part in parts], -1) for name in ("go", "error", "draws")))

    def _part(self, rows: Ints, prices: Floats) -> Ahead:
        left, unseen = self.new.open_share(rows), self.new.unseen(rows)
        loss = states_and_losses(left.p, self.zones, self.low, self.high)[1]
        return look_ahead(left.chance, loss, prices[:, None] / np.maximum(unseen, _NOTHING), unseen)


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
