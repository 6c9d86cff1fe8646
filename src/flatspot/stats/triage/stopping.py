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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flatspot.stats.decide import FEWEST_REWARDS
from flatspot.stats.evidence import Floats, Ints, distinct
from flatspot.stats.models.npmle import GRID, fit_pairs, flat_prior
from flatspot.stats.triage.ahead import Flags, KnownPrompts

# the price of a draw, in units of one wrong verdict, dearest first: at the first, no prompt is drawn again, which is right where the set's
# error is under the target already. So fine a grid costs 2-5% fewer draws than a third of it, as the target is met closer
PRICES: Floats = np.geomspace(1.0, 0.0001, 74)
_AHEAD = 64
_MOST_AHEAD = 2000  # prompts with known mass that a price is found by
_LOG_OF_NONE = -1e200  # logarithm of 0: finite, so that none of them is 0


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
    """What the optimal rule at each of `PRICES` is expected to do with the prompts it was fitted to; whatever error is aimed at.

    table       every state under the fitted g
    size        [C] how many prompts are in each of the states that they are in, but for those that are proved; then those with known mass
    error       [P, C] expected loss of such a prompt at the end;  draws [P, C] expected further draws of it
    most_draws  that may yet be drawn in all
    n_proved    prompts that are proved, and leave their share of the error to the others
    """

    table: StateTable
    size: Floats | Ints
    error: Floats
    draws: Floats
    most_draws: float
    n_proved: int = 0

    def meeting(self, target: float) -> StoppingRule:
        """The rule at the dearest price that meets the target error, over all prompts: those that are proved have none."""
        n = float(self.size.sum())
        shared = target * (n + self.n_proved) / n if n else target
        price = PRICES[cheapest_price(self.error, self.draws, self.size, shared, most_draws=self.most_draws) if n else 0]
        return stopping_rules(self.table, np.array([price]))[0]


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
    with np.errstate(divide="ignore"):  # 0 times a finite logarithm of 0 is 0
        log_weight, log_one, log_zero = (np.maximum(np.log(x), _LOG_OF_NONE) for x in (weights, GRID, 1 - GRID))
    for n in range(size):
        ones = np.arange(n + 1)[:, None]
        log_joint = log_weight + ones * log_one + (n - ones) * log_zero
        joint = np.exp(log_joint - log_joint.max(-1, keepdims=True))  # of thousands of completions, the likelihood itself is 0 in floats
        at, total = slice(0, n + 1), joint.sum(-1)
        risk[n, at] = joint @ loss / total[:, None]
        chance[n, at] = joint @ GRID / total
    return StateTable(risk, chance)


def stopping_rules(table: StateTable, prices: Floats, at_least: int = FEWEST_REWARDS) -> list[StoppingRule]:
    """The optimal rule at each price, dearest price first or not: all in one backward sweep.

    at_least  draws before which no rule may stop
    """
    shape = (len(prices), *table.chance.shape)
    go, error, draws = np.zeros(shape, bool), np.tile(table.risk.min(-1), (len(prices), 1, 1)), np.zeros(shape)
    for n, onwards, loss, further in _sweep(table, prices, at_least):
        at = slice(0, n + 1)
        go[:, n, at], error[:, n, at], draws[:, n, at] = onwards, loss, further
    return [StoppingRule(float(c), go[i], error[i], draws[i]) for i, c in enumerate(prices)]


def expected(table: StateTable, prices: Floats, states: Ints) -> tuple[Floats, Floats]:
    """[P, C] the loss and the further draws that the optimal rule at each price is expected to take from these states (n, ones) [C, 2]."""
    n, hits = states.T
    error, draws = np.tile(table.risk[n, hits].min(-1), (len(prices), 1)), np.zeros((len(prices), len(n)))
    for row, _, loss, further in _sweep(table, prices, FEWEST_REWARDS):
        here = n == row
        if here.any():
            error[:, here], draws[:, here] = loss[:, hits[here]], further[:, hits[here]]
    return error, draws


def _sweep(table: StateTable, prices: Floats, at_least: int) -> Iterator[tuple[int, Flags, Floats, Floats]]:
    """(n, whether to go on, loss at the end, further draws), each [P, n + 1], from the last draw but one to none."""
    top = len(table.chance) - 1
    least = table.risk[top].min(-1)
    value, error, draws = (np.tile(row, (len(prices), 1)) for row in (least, least, np.zeros(top + 1)))
    for n in range(top - 1, -1, -1):
        m, least = table.chance[n, : n + 1], table.risk[n, : n + 1].min(-1)
        onwards = prices[:, None] + m * value[:, 1:] + (1 - m) * value[:, :-1]
        go = (onwards < least - 1e-12) | (n < at_least)  # a tie stops
        value = np.where(go, onwards, least)
        error = np.where(go, m * error[:, 1:] + (1 - m) * error[:, :-1], least)
        draws = np.where(go, 1 + m * draws[:, 1:] + (1 - m) * draws[:, :-1], 0.0)
        yield n, go, error, draws


def cheapest_price(error: Floats, draws: Floats, size: Floats | Ints, target: float, *, most_draws: float = np.inf) -> int:
    """The place in PRICES of the dearest price whose predicted error for these prompts is at most the target; else of the cheapest one.

    error, draws [P, C] what each price leads to, as `expected` gives it;  size [C] how many prompts are in each state

    The prediction starts from where every prompt now stands: what it has shown counts, not only g. Where following the rule would take
    more than `most_draws`, the price is raised until it does not.
    """
    good = np.flatnonzero(error @ size / size.sum() <= target)
    chosen = int(good[0]) if len(good) else len(error) - 1
    further = draws @ size
    while chosen > 0 and further[chosen] > most_draws:
        chosen -= 1
    return chosen


def priced_rules(
    prompts: Ints,
    loss: Floats,
    *,
    max_completions: int,
    most_draws: float,
    proved: Flags | None = None,
    known: KnownPrompts | None = None,
) -> PriceList:
    """The rules under g fitted to the prompts, at every price.

    prompts  [M, 2] completions and ones of each;  loss  [163, 3] as `state_table` gives it;  proved  [M] whose verdict cannot be wrong
    known    those that go by their new draws, none of which is proved

    The rules look ahead to `_AHEAD` draws and four times those of any prompt, so that a cap of thousands costs neither time nor memory
    before a prompt comes near it: a prompt that gets so far is stopped there until the rules are found anew.
    """
    columns, _, size = distinct(*prompts.T)
    pairs = np.stack(columns, -1)
    some = pairs[:, 0] > 0
    weights = flat_prior() if not some.any() else fit_pairs(pairs[some, 0], pairs[some, 1], size[some])
    table = tabulate_states(weights, loss, min(max_completions, 4 * int(pairs[:, 0].max()) + _AHEAD))
    proved = np.zeros(len(prompts), bool) if proved is None else proved
    by_counts = ~proved if known is None else ~proved & ~np.isin(np.arange(len(prompts)), known.rows)
    columns, _, size = distinct(*prompts[by_counts].T)
    error, draws = expected(table, PRICES, np.stack(columns, -1))
    if known is not None:
        chosen, each = known.some(_MOST_AHEAD)
        ahead = chosen.ahead(PRICES)
        error, draws = np.concatenate([error, ahead.error], -1), np.concatenate([draws, ahead.draws], -1)
        size = np.r_[size, np.full(ahead.error.shape[1], each)]
    return PriceList(table, size, error, draws, most_draws, int(proved.sum()))
