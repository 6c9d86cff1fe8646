"""Changes and stops against enumeration, scipy, and simulated trainings in which nothing changes."""

from math import comb

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from flatspot.stats.changes import RATE, STRETCHES, change_p, discoveries, stopped_p


def of_hits(a, n, b, m):
    """The p-value and the least one, of a hits in n completions and b in m."""
    p, least = change_p(np.zeros(4, int), np.array([0, 0, 1, 1], bool), np.array([0.0, 1.0, 0.0, 1.0]), np.array([n - a, a, m - b, b]), 1)
    return p[0], least[0]


def by_hand(a, n, b, m):
    """Fisher's exact test with the smaller tail doubled, from binomial coefficients."""
    law = {k: comb(n, k) * comb(m, a + b - k) / comb(n + m, a + b) for k in range(max(0, a + b - m), min(n, a + b) + 1)}
    tails = sum(q for k, q in law.items() if k <= a), sum(q for k, q in law.items() if k >= a)
    return min(1.0, 2 * min(tails)), min(1.0, 2 * min(law[min(law)], law[max(law)]))


@pytest.mark.parametrize(("n", "m"), [(4, 4), (8, 3), (5, 16)])
def test_the_p_value_of_binary_rewards_is_fishers(n, m):
    for a in range(n + 1):
        for b in range(m + 1):
            assert of_hits(a, n, b, m) == pytest.approx(by_hand(a, n, b, m)), (a, b)


@pytest.mark.parametrize("chance", [0.02, 0.1, 0.5, 0.9])
def test_of_an_unchanging_prompt_no_level_is_exceeded(chance):
    n, m = 8, 12
    weight = {
        (a, b): comb(n, a) * comb(m, b) * chance ** (a + b) * (1 - chance) ** (n + m - a - b) for a in range(n + 1) for b in range(m + 1)
    }
    p = {pair: of_hits(pair[0], n, pair[1], m)[0] for pair in weight}
    for level in (0.001, 0.01, 0.05, 0.2):
        assert sum(w for pair, w in weight.items() if p[pair] <= level) <= level + 1e-12


def test_order_and_rows_that_stand_for_several_completions_change_nothing():
    rng = np.random.default_rng(0)
    prompt, later, reward = rng.integers(0, 5, 300), rng.random(300) < 0.4, rng.integers(0, 4, 300) / 3
    one = change_p(prompt, later, reward, np.ones(300, int), 5)
    order = rng.permutation(300)
    other = change_p(prompt[order], later[order], reward[order], np.ones(300, int), 5)
    rows, counts = np.unique(np.column_stack([prompt, later, reward]), axis=0, return_counts=True)
    joined = change_p(rows[:, 0].astype(int), rows[:, 1].astype(bool), rows[:, 2], counts, 5)
    for p, q, r in zip(one, other, joined, strict=True):
        assert p == pytest.approx(q) and p == pytest.approx(r)


def rewards(kind, rng, chances, n):
    """[M, n] of prompts that are as they are."""
    if kind == "binary":
        return (rng.random((len(chances), n)) < chances[:, None]).astype(float)
    if kind == "levels":
        return rng.binomial(4, chances[:, None], (len(chances), n)) / 4
    return np.round(chances[:, None] + rng.gamma(0.7, 0.2, (len(chances), n)), 2)


def found_in(first, second):
    m = len(first)
    prompt = np.r_[np.repeat(np.arange(m), first.shape[1]), np.repeat(np.arange(m), second.shape[1])]
    later = np.r_[np.zeros(first.size, bool), np.ones(second.size, bool)]
    p, least = change_p(prompt, later, np.r_[first.ravel(), second.ravel()], np.ones(len(prompt), int), m)
    return discoveries(p, least)


@pytest.mark.parametrize("kind", ["binary", "levels", "continuous"])
def test_where_no_prompt_changes_any_change_is_found_no_more_often_than_stated(kind):
    rng, sets = np.random.default_rng(7), 400
    wrong = sum(found_in(*(rewards(kind, rng, own, n) for n in (16, 24))).any() for own in rng.beta(0.5, 0.7, (sets, 60)))
    assert wrong <= sets * RATE + 3 * np.sqrt(sets * RATE * (1 - RATE))


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_of_the_changes_found_no_more_are_chance_than_stated(kind):
    rng, shares, hits = np.random.default_rng(8), [], 0
    for _ in range(100):
        before = rng.beta(0.5, 0.7, 100)
        after = np.where(np.arange(100) < 30, np.clip(before + 0.6, 0, 1), before)
        found = found_in(rewards(kind, rng, before, 24), rewards(kind, rng, after, 24))
        shares.append(found[30:].sum() / max(1, found.sum()))
        hits += found[:30].sum()
    assert np.mean(shares) <= RATE + 3 * np.std(shares) / 10
    assert hits > 0.5 * 30 * 100 * (1 if kind == "continuous" else 0.4)


def test_a_spread_that_shrinks_around_the_same_middle_is_a_change():
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(0.5, 0.2, (1, 40)), rng.normal(0.5, 0.01, (1, 40))
    assert found_in(wide, narrow).all() and not found_in(wide[:, :20], wide[:, 20:]).any()


def test_discoveries_are_benjamini_and_hochbergs():
    rng = np.random.default_rng(1)
    for share in (0.0, 0.3, 1.0):
        p = np.where(rng.random(200) < share, rng.random(200) ** 6, rng.random(200))
        assert (discoveries(p) == (false_discovery_control(p) <= RATE)).all()
    assert not discoveries(np.array([np.nan, 0.9])).any()
    assert discoveries(np.array([0.04, 0.5, 0.5]), np.array([0.001, 0.5, 0.5])).tolist() == [True, False, False]


def stretches(drawn):
    """[M, T] draws by step as draws by stretch."""
    n = min(STRETCHES, drawn.shape[1])
    found = np.zeros((len(drawn), n), bool)
    for step in range(drawn.shape[1]):
        found[:, step * n // drawn.shape[1]] |= drawn[:, step]
    return found


def independent(rng, m=200, steps=90, batch=24, weight=None):
    drawn = np.zeros((m, steps), bool)
    for step in range(steps):
        drawn[rng.choice(m, batch, replace=False, p=weight), step] = True
    return drawn


def unequal(rng):
    weight = rng.gamma(1.5, 1.0, 200)
    return independent(rng, weight=weight / weight.sum())


def in_turn(rng, m=200, steps=90, batch=24, until=None):
    """Passes over the prompts, each in a new order; a prompt is left out from its own step on."""
    drawn, order = np.zeros((m, steps), bool), []
    for step in range(steps):
        alive = np.ones(m, bool) if until is None else until > step
        picked = set()
        while len(picked) < min(batch, alive.sum()):
            order = order or list(rng.permutation(np.flatnonzero(alive)))
            if alive[i := order.pop()]:
                picked.add(i)
        drawn[list(picked), step] = True
    return drawn


def one_pass(rng, parts=1):
    """A single pass, in which the rows of a group may lie at several steps in a row."""
    drawn = np.zeros((600, 120), bool)
    for i, step in enumerate(rng.permutation(np.arange(600) // 5)):
        drawn[i, step : step + parts] = True
    return drawn


def all_always(rng):
    return independent(rng, m=20, steps=40, batch=19)


SAMPLERS = {
    "independent": independent,
    "unequal": unequal,
    "in turn": in_turn,
    "one pass": one_pass,
    "a pass of split groups": lambda rng: one_pass(rng, 8),
    "nearly all at each step": all_always,
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_where_all_prompts_stay_any_stop_is_found_no_more_often_than_stated(sampler):
    rng, runs = np.random.default_rng(5), 100
    wrong = sum(discoveries(stopped_p(stretches(SAMPLERS[sampler](rng)))).any() for _ in range(runs))
    assert wrong <= runs * RATE + 3 * np.sqrt(runs * RATE * (1 - RATE))


def test_prompts_that_are_left_out_are_found_and_no_more_of_them_are_chance_than_stated():
    rng, shares, found_early, early = np.random.default_rng(6), [], 0, 0
    for _ in range(20):
        until = np.where(rng.random(200) < 0.25, rng.integers(10, 90, 200), 1000)
        found = discoveries(stopped_p(stretches(in_turn(rng, until=until))))
        shares.append((found & (until > 90)).sum() / max(1, found.sum()))
        found_early += (found & (until < 50)).sum()
        early += (until < 50).sum()
    assert np.mean(shares) <= RATE
    assert found_early > 0.8 * early
