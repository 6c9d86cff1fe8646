"""The stopping rule against brute force, and its symmetries."""

import functools
import itertools

import numpy as np
import pytest
import scipy.special

from flatspot.stats.evidence import distinct
from flatspot.stats.models.binary import state_table
from flatspot.stats.models.npmle import GRID, fit_pairs
from flatspot.stats.triage.stopping import PRICES, cheapest_price, expected, priced_rules, stopping_rules, tabulate_states
from flatspot.stats.zones import Zones

LOSS = state_table(Zones(0.05), 0.0, 1.0)[1]


def some_prior(seed, parts=4):
    rng = np.random.default_rng(seed)
    g = np.zeros(len(GRID))
    g[rng.choice(len(GRID), parts, replace=False)] = rng.random(parts)
    g[[0, -1]] += 0.2
    return g / g.sum()


def cost_of(policy, g, price, top, loss):
    """Price and loss of a set of states in which to draw on, along every path, by walking them all."""
    total = 0.0
    for path in itertools.product((0, 1), repeat=top):
        n = s = 0
        while n < top and (n, s) in policy:
            s += path[n]
            n += 1
        chance = (g * GRID ** sum(path) * (1 - GRID) ** (top - sum(path))).sum()
        joint = g * GRID**s * (1 - GRID) ** (n - s)
        if joint.sum() > 0:
            total += chance * (n * price + (joint @ loss / joint.sum()).min())
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("price", [0.003, 0.03, 0.1, 1.0])
@pytest.mark.parametrize("at_least", [0, 2])
def test_no_policy_is_better_than_the_rule(seed, price, at_least):
    g, top = some_prior(seed), 3
    rule = stopping_rules(tabulate_states(g, LOSS, top), np.array([price]), at_least)[0]
    states = [(n, s) for n in range(at_least, top) for s in range(n + 1)]
    always = frozenset((n, s) for n in range(at_least) for s in range(n + 1))  # where no policy may stop
    every = itertools.chain.from_iterable(itertools.combinations(states, k) for k in range(len(states) + 1))
    best = min(cost_of(always | frozenset(policy), g, price, top, LOSS) for policy in every)
    ours = cost_of({(n, s) for n in range(top) for s in range(n + 1) if rule.go[n, s]}, g, price, top, LOSS)
    assert ours == pytest.approx(best, abs=1e-12)
    assert rule.error[0, 0] + price * rule.draws[0, 0] == pytest.approx(best, abs=1e-12)


def in_logarithms(g, n, s):
    """(chance, risk) of the states (n, s) [S] straight from logarithms."""
    with np.errstate(divide="ignore"):
        log = np.log(g) + scipy.special.xlogy(s[:, None], GRID) + scipy.special.xlog1py(n - s[:, None], -GRID)
    joint = np.exp(log - log.max(-1, keepdims=True))
    joint /= joint.sum(-1, keepdims=True)
    return joint @ GRID, joint @ LOSS


@pytest.mark.parametrize("top", [1100, pytest.param(5000, marks=pytest.mark.slow)])
def test_states_beyond_where_likelihoods_become_zero(top):
    """2^-1075 is 0 in floats: without scaling, everything from there on is NaN."""
    g = some_prior(2, 30)
    view = tabulate_states(g, LOSS, top)
    for n in (63, 900, 1075, 1090, 1100, 2000, 3500, 5000):
        if n > top:
            break
        chance, risk = in_logarithms(g, n, np.arange(n + 1))
        np.testing.assert_allclose(view.chance[n, : n + 1], chance, rtol=1e-11)
        np.testing.assert_allclose(view.risk[n, : n + 1], risk, rtol=1e-9, atol=1e-13)


@pytest.mark.slow
def test_the_rule_at_two_thousand_draws_is_the_one_in_logarithms():
    g, price, top = some_prior(2, 30), 1e-6, 2000
    rule = stopping_rules(tabulate_states(g, LOSS, top), np.array([price]))[0]
    value = in_logarithms(g, top, np.arange(top + 1))[1].min(-1)
    for n in range(top - 1, -1, -1):
        chance, risk = in_logarithms(g, n, np.arange(n + 1))
        onwards, least = price + chance * value[1:] + (1 - chance) * value[:-1], risk.min(-1)
        clear = np.abs(onwards - least) > 1e-9
        np.testing.assert_array_equal(rule.go[n, : n + 1][clear], (onwards < least)[clear])
        value = np.minimum(onwards, least)
    assert rule.go.any()


@pytest.mark.parametrize("cap", [2000, 5000])
def test_rules_that_look_ahead_a_while_cost_as_good_as_nothing_more(cap):
    """Held against a sweep from three times as far: dearer by a ten-thousandth of an error a prompt at most, and never surer."""
    rng = np.random.default_rng(0)
    hits = rng.binomial(20, rng.choice([0.0, 0.04, 0.12, 0.5, 1.0], 400))
    priced = priced_rules(np.stack([np.full(400, 20), hits], -1), LOSS, max_completions=cap, most_draws=np.inf)
    assert len(priced.table.chance) == 145
    states = np.stack(distinct(np.full(400, 20), hits)[0], -1)
    error, draws = expected(tabulate_states(fit_pairs(*distinct_pairs(hits)), LOSS, 432), PRICES, states)
    dearer = (priced.error - error + PRICES[:, None] * (priced.draws - draws)) @ priced.size / 400
    assert (dearer >= -1e-12).all() and dearer.max() <= 1e-4
    assert ((priced.error - error) @ priced.size >= -1e-9).all()


def distinct_pairs(hits):
    values, size = np.unique(hits, return_counts=True)
    return np.full(len(values), 20), values, size


@pytest.mark.thorough
def test_prompts_near_a_cap_of_two_thousand_are_judged_as_in_logarithms():
    hits = np.repeat([0, 40, 85, 130, 200], 20)
    priced = priced_rules(np.stack([np.full(100, 1700), hits], -1), LOSS, max_completions=1710, most_draws=np.inf)
    n, values, size = np.full(5, 1700), np.unique(hits), np.full(5, 20)
    g, rule = fit_pairs(n, values, size), priced.meeting(0.0)
    np.testing.assert_allclose(rule.draws[1710], 0.0)
    value = in_logarithms(g, 1710, np.arange(1711))[1].min(-1)
    for step in range(1709, 1699, -1):
        chance, risk = in_logarithms(g, step, np.arange(step + 1))
        onwards, least = rule.price + chance * value[1:] + (1 - chance) * value[:-1], risk.min(-1)
        clear = np.abs(onwards - least) > 1e-9
        np.testing.assert_array_equal(rule.go[step, : step + 1][clear], (onwards < least)[clear])
        value = np.minimum(onwards, least)


def test_error_and_draws_are_those_of_every_path():
    g, top = some_prior(7), 9
    rule = stopping_rules(tabulate_states(g, LOSS, top), np.array([0.004]))[0]

    @functools.cache
    def walk(n, s):
        joint = g * GRID**s * (1 - GRID) ** (n - s)
        if n == top or not rule.go[n, s]:
            return (joint @ LOSS).min(), n * joint.sum()
        return tuple(np.add(walk(n + 1, s), walk(n + 1, s + 1)))

    assert (rule.error[0, 0], rule.draws[0, 0]) == pytest.approx(walk(0, 0))


def test_a_cheaper_draw_means_more_draws_and_fewer_errors():
    rules = stopping_rules(tabulate_states(some_prior(1, 40), LOSS, 40), PRICES)
    assert (np.diff([r.error[0, 0] for r in rules]) <= 1e-12).all()
    assert (np.diff([r.draws[0, 0] for r in rules]) >= -1e-12).all()


def test_the_rule_is_symmetric_in_the_label():
    g = some_prior(3, 40)
    there = stopping_rules(tabulate_states(g, LOSS, 20), np.array([0.003]))[0]
    back = stopping_rules(tabulate_states(g[::-1], LOSS[::-1, ::-1], 20), np.array([0.003]))[0]
    for n in range(21):
        np.testing.assert_array_equal(there.go[n, : n + 1], back.go[n, : n + 1][::-1])


def test_more_zeros_never_make_vanishing_less_sure():
    risk = tabulate_states(some_prior(5, 60), LOSS, 30).risk
    assert (np.diff(risk[:, 0, 0]) <= 1e-12).all()
    for n in range(1, 31):
        assert (np.diff(risk[n, : n + 1, 0]) >= -1e-12).all()  # nor do more ones make it surer


def test_the_dearest_rule_that_meets_the_target_is_taken():
    table = tabulate_states(some_prior(2, 30), LOSS, 40)
    rules, one = stopping_rules(table, PRICES), np.ones(1, int)
    error, draws = expected(table, PRICES, np.zeros((1, 2), int))
    place = cheapest_price(error, draws, one, 0.03)
    assert rules[place].error[0, 0] <= 0.03 < rules[place - 1].error[0, 0]
    assert cheapest_price(error, draws, one, 0.0) == len(PRICES) - 1


def test_what_is_expected_of_states_is_what_the_rules_hold():
    table, rng = tabulate_states(some_prior(4, 30), LOSS, 30), np.random.default_rng(0)
    n = np.r_[0, rng.integers(1, 31, 12), 30]
    states = np.stack([n, rng.integers(0, n + 1)], -1)
    error, draws = expected(table, PRICES, states)
    for i, rule in enumerate(stopping_rules(table, PRICES)):
        np.testing.assert_array_equal(error[i], rule.error[tuple(states.T)])
        np.testing.assert_array_equal(draws[i], rule.draws[tuple(states.T)])
