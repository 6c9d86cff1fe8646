"""When to stop drawing: optimal stopping of binary rewards by dynamic programming over (draws, ones).

Under a distribution g of success probabilities on `GRID`, a prompt with s ones in n draws has the posterior
pi(k) ~ g_k p_k^s (1 - p_k)^(n - s) and the minimal risk R(n, s) = min_d sum_k pi(k) L(p_k, d). With a price c per draw and at most N draws

    J_N(s) = R(N, s)
    J_n(s) = min{ R(n, s),  c + m J_{n+1}(s + 1) + (1 - m) J_{n+1}(s) },     m(n, s) = sum_k pi(k) p_k,

and a prompt is drawn once more exactly where the second term is the smaller (Arrow, Blackwell and Girshick 1949; exact for this g).
The same sweep gives the expected error and the expected number of draws from every state, so the price that meets a target error is
found without one label. No verdict is given on fewer than two rewards, so below that a prompt is always drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.decide import FEWEST_REWARDS
from flatspot.stats.evidence import Floats, Ints, distinct
from flatspot.stats.models.npmle import GRID, fit_pairs, flat_prior

Flags = NDArray[np.bool_]

# the price of a draw, in units of one wrong verdict, dearest first: at the first, no prompt is drawn again, which is right where the set's
# error is under the target already. So fine a grid costs 2-5% fewer draws than a third of it, as the target is met closer
PRICES: Floats = np.geomspace(1.0, 0.0001, 74)
_AHEAD = 64
_RESCALED = 32  # draws after which the products p^s (1 - p)^(n - s) are scaled to a maximum of 1: 2^-1075 is 0 in floats


@dataclass(frozen=True)
class StateTable:
    """Every state (n, s) under g, before any price: two [N + 1, N + 1(, D)] arrays, rows n, columns s <= n.

    risk      [N + 1, N + 1, D] expected loss of each of D decisions
    chance    [N + 1, N + 1] probability that the next reward is the high one
    """

    risk: Floats
    chance: Floats


@dataclass(frozen=True)
class StoppingRule:
    """The optimal rule at one price; every array is [N + 1, N + 1], rows n, columns s <= n (the rest is never reached).

    price  what a draw costs, in units of the loss
    go     draw once more
    error  expected loss at the end of following the rule from here
    draws  expected further draws
    """

    price: float
    go: Flags
    error: Floats
    draws: Floats


@dataclass(frozen=True)
class PriceList:
    """A rule per price, and the prompts they were fitted to: whatever error is aimed at, the fit is the same.

    states      [C, 2] the distinct (n, ones) the prompts are in;  size [C] how many are in each
    most_draws  that may yet be drawn in all
    """

    rules: tuple[StoppingRule, ...]
    states: Ints
    size: Ints
    most_draws: float

    def meeting(self, target: float) -> StoppingRule:
        """The rule at the dearest price that meets the target error."""
        return self.rules[cheapest_price(self.rules, self.states, self.size, target, most_draws=self.most_draws)]


def tabulate_states(weights: Floats, loss: Floats, max_completions: int) -> StateTable:
    """Risks and predictive chances of all states with at most `max_completions` draws.

    weights : [163] g on `GRID`;  loss : [163, D] loss of each decision at each p

    >>> flat = np.full(163, 1 / 163)
    >>> table = tabulate_states(flat, np.ones((163, 1)), 2)
    >>> float(table.chance[0, 0].round(3)), bool(table.chance[2, 2] > table.chance[1, 1] > table.chance[0, 0])
    (0.5, True)
    """
    size = max_completions + 1
    risk, chance = np.zeros((size, size, loss.shape[1])), np.zeros((size, size))
    joint = weights[None, :]
    for n in range(size):
        at, total = slice(0, n + 1), joint.sum(-1)
        risk[n, at] = joint @ loss / total[:, None]
        chance[n, at] = joint @ GRID / total
        # one more draw, along the way on which ones and zeros stay as even as they can: on a way through all zeros first, the p that the
        # later ones speak for would have become 0 in floats long before
        half = n // 2 + 1
        joint = np.concatenate([joint[:half] * (1 - GRID), joint[half - 1 :] * GRID])
        if n % _RESCALED == 0:
            joint /= joint.max(-1, keepdims=True)
    return StateTable(risk, chance)


def stopping_rules(table: StateTable, prices: Floats, at_least: int = FEWEST_REWARDS) -> list[StoppingRule]:
    """The optimal rule at each price, dearest price first or not: all in one backward sweep.

    at_least  draws before which no rule may stop
    """
    least = table.risk.min(-1)
    top, count = len(least) - 1, len(prices)
    go = np.zeros((count, top + 1, top + 1), bool)
    error, draws = np.tile(least, (count, 1, 1)), np.zeros((count, top + 1, top + 1))
    value = np.tile(least[top], (count, 1))
    for n in range(top - 1, -1, -1):
        at, m = slice(0, n + 1), table.chance[n, : n + 1]
        onwards = prices[:, None] + m * value[:, 1 : n + 2] + (1 - m) * value[:, : n + 1]
        go[:, n, at] = (onwards < least[n, at] - 1e-12) | (n < at_least)  # a tie stops
        value = np.where(go[:, n, at], onwards, least[n, at])
        for expected, extra in ((error, 0.0), (draws, 1.0)):
            ahead = extra + m * expected[:, n + 1, 1 : n + 2] + (1 - m) * expected[:, n + 1, : n + 1]
            expected[:, n, at] = np.where(go[:, n, at], ahead, expected[:, n, at])
    return [StoppingRule(float(c), go[i], error[i], draws[i]) for i, c in enumerate(prices)]


def cheapest_price(rules: Sequence[StoppingRule], states: Ints, size: Ints, target: float, *, most_draws: float = np.inf) -> int:
    """The place in PRICES of the dearest price whose predicted error for these prompts is at most the target; else of the cheapest one.

    states [C, 2] the distinct (n, ones) the prompts are in;  size [C] how many are in each

    The prediction starts from where every prompt now stands: what it has shown counts, not only g. Where following the rule would take
    more than `most_draws`, the price is raised until it does not.
    """
    n, hits = states.T
    error = np.array([size @ rule.error[n, hits] for rule in rules])
    draws = np.array([size @ rule.draws[n, hits] for rule in rules])
    good = np.flatnonzero(error / size.sum() <= target)
    chosen = int(good[0]) if len(good) else len(error) - 1
    while chosen > 0 and draws[chosen] > most_draws:
        chosen -= 1
    return chosen


def priced_rules(prompts: Ints, loss: Floats, *, max_completions: int, most_draws: float) -> PriceList:
    """The rules under g fitted to the prompts, at every price.

    prompts  [M, 2] completions and ones of each;  loss  [163, 3] as `state_table` gives it

    The rules look ahead to `_AHEAD` draws and four times those of any prompt, so that a cap of thousands costs neither time nor memory
    before a prompt comes near it: a prompt that gets so far is stopped there until the rules are found anew.
    """
    columns, _, size = distinct(*prompts.T)
    pairs = np.stack(columns, -1)
    some = pairs[:, 0] > 0
    weights = flat_prior() if not some.any() else fit_pairs(pairs[some, 0], pairs[some, 1], size[some])
    horizon = min(max_completions, 4 * int(pairs[:, 0].max()) + _AHEAD)
    return PriceList(tuple(stopping_rules(tabulate_states(weights, loss, horizon), PRICES)), pairs, size, most_draws)
