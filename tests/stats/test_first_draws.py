"""What new draws say, against loops over the draws and against every sequence of draws of small policies."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from flatspot.stats.first_draws import FirstDraws
from flatspot.stats.known_mass import known_mass

POLICIES = {
    "even": ([0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 1.0]),
    "one and a rest": ([0.9, 0.06, 0.03, 0.01], [0.0, 0.0, 1.0, 1.0]),
    "graded": ([0.5, 0.3, 0.15, 0.05], [0.2, 0.5, 1.0, 0.0]),
    "rare success": ([0.6, 0.3, 0.1], [0.0, 0.0, 1.0]),
}


def draws_of(p, r, sequences):
    """The new draws of sequences [S, n] of completions, each a prompt."""
    p, r, sequences = np.asarray(p), np.asarray(r), np.asarray(sequences)
    prompt = np.repeat(np.arange(len(sequences)), sequences.shape[1])
    return known_mass(prompt, sequences.ravel(), r[sequences.ravel()], p[sequences.ravel()], len(sequences)).firsts


def by_hand(p, r, sequence, guess=lambda new: 0.0):
    """[(u, X)] of every draw, [(C, u, r)] of the new ones, and the interval that is proved; guess(new ones before) is b."""
    seen, every, new = set(), [], []
    for c in sequence:
        known, earned, b = sum(p[s] for s in seen), sum(p[s] * r[s] for s in seen), guess(new)
        every.append((1 - known, earned + (1 - known) * b + (r[c] - b if c not in seen else 0.0)))
        if c not in seen:
            new.append((earned, 1 - known, r[c]))
        seen.add(c)
    earned, known = sum(p[s] * r[s] for s in seen), sum(p[s] for s in seen)
    return every, new, (earned, earned + 1 - known)


def capital(q, x, alpha):
    """What both bettors own at a mean whose new draws should have earned q: as the paper on betting has it, draw by draw."""
    more, less, center, squares, total = 1.0, 1.0, 0.5, 0.25, 0.5
    for t, (qt, xt) in enumerate(zip(q, x, strict=True), 1):
        qt = min(max(qt, 1e-9), 1 - 1e-9)
        stake = math.sqrt(2 * math.log(2 / alpha) / (squares / t * t * math.log(t + 1)))
        more *= 1 + min(stake, 0.75 / qt) * (xt - qt)
        less *= 1 - min(stake, 0.75 / (1 - qt)) * (xt - qt)
        total += xt
        center = total / (t + 1)
        squares += (xt - center) ** 2
    return (more + less) / 2


def weighted_mean(p, r, sequence, others):
    every, *_ = by_hand(p, r, sequence, lambda new: (sum(x for *_, x in new) + 4 * others) / (len(new) + 4))
    open_ = [(max(u, 1e-12), x) for u, x in every]
    return sum(x / u for u, x in open_) / sum(1 / u for u, _ in open_)


@pytest.mark.parametrize("name", POLICIES)
def test_mean_and_limits_are_those_of_a_loop_over_the_draws(name):
    p, r = POLICIES[name]
    rng = np.random.default_rng(0)
    sequences = rng.choice(len(p), (40, 7), p=p)
    scaled = draws_of(p, r, sequences).within(0.0, 1.0)
    limits, at = scaled.limits(0.9), np.linspace(0, 1, 4001)
    for i, sequence in enumerate(sequences):
        _, new, (lo, hi) = by_hand(p, r, sequence)
        late = [[x for *_, x in by_hand(p, r, other)[1]][1:] for j, other in enumerate(sequences) if j != i]
        others = np.mean([x for several in late for x in several])
        mean = weighted_mean(p, r, sequence, others)
        assert scaled.mean[i] == pytest.approx(min(max(mean, lo), hi), abs=1e-9)
        assert scaled.proved[i] == pytest.approx([lo, hi])
        inside = []
        for m in at:
            if lo <= m <= hi:
                q = [(m - c) / u for c, u, _ in new]
                if capital(q, [x for *_, x in new], 0.1) < 1 / 0.1:
                    inside.append(m)
        if hi - lo > 0.01:
            width = (hi - lo) / 128
            assert min(inside) - 2 * width - 3e-4 <= limits[i, 0] <= min(inside) + 3e-4
            assert max(inside) - 3e-4 <= limits[i, 1] <= max(inside) + 2 * width + 3e-4
        assert lo - 1e-9 <= limits[i, 0] <= limits[i, 1] <= hi + 1e-9


@pytest.mark.parametrize("name", POLICIES)
def test_over_every_sequence_the_limits_fail_at_any_time_no_more_often_than_they_say(name):
    """The probability that the limits after 1, 2, … or 6 draws ever miss the mean: exact, as under the worst rule of when to stop."""
    p, r = POLICIES[name]
    truth, steps = float(np.dot(p, r)), 6
    sequences = np.array(list(itertools.product(range(len(p)), repeat=steps)))
    chance = np.prod(np.asarray(p)[sequences], axis=1)
    for level in (0.6, 0.8, 0.95):
        missed = np.zeros(len(sequences), bool)
        for n in range(1, steps + 1):
            lo, hi = draws_of(p, r, sequences[:, :n]).within(0.0, 1.0).limits(level).T
            missed |= (truth < lo - 1e-9) | (truth > hi + 1e-9)
        assert chance[missed].sum() <= 1 - level
    assert chance.sum() == pytest.approx(1)


def test_some_sequences_are_missed_where_the_level_is_low():
    p, r = POLICIES["even"]
    sequences = np.array(list(itertools.product(range(4), repeat=3)))
    lo, hi = draws_of(p, r, sequences).within(0.0, 1.0).limits(0.05).T
    assert ((lo > 0.5) | (hi < 0.5)).any()  # else limits that are everything would pass


@pytest.mark.parametrize("name", POLICIES)
def test_each_draw_has_the_mean_of_the_prompt_given_the_past(name):
    """Summed over every sequence and weighted by 1 / u, what the draws are off by is 0: also where the draws end at the first reward."""
    p, r = POLICIES[name]
    truth = float(np.dot(p, r))
    off = {"fixed": 0.0, "first reward": 0.0}
    for sequence in itertools.product(range(len(p)), repeat=4):
        every, *_ = by_hand(p, r, sequence, lambda new: np.mean([x for *_, x in new]) if new else 0.3)
        chance = math.prod(p[c] for c in sequence)
        stop = next((i + 1 for i, c in enumerate(sequence) if r[c] > 0), 4)
        for name_, n in (("fixed", 4), ("first reward", stop)):
            off[name_] += chance * sum((x - truth) / max(u, 1e-12) for u, x in every[:n] if u > 1e-9)
    assert off == pytest.approx({"fixed": 0.0, "first reward": 0.0}, abs=1e-9)


def test_a_completion_that_is_drawn_again_moves_no_limit():
    p, r = POLICIES["rare success"]
    once, often = (draws_of(p, r, [sequence]).within(0.0, 1.0) for sequence in ([0, 2], [0, 2, 0, 0, 2, 0]))
    np.testing.assert_allclose(once.limits(), often.limits(), atol=1e-12)


@pytest.mark.parametrize("reward", [0.0, 0.4, 1.0])
def test_where_every_reward_of_the_set_is_one_value_the_means_are_that(reward):
    p = [0.5, 0.3, 0.1, 0.1]
    scaled = draws_of(p, [reward] * 4, [[0, 0, 1, 0], [0, 0, 0, 0], [1, 2, 0, 1]]).within(0.0, 1.0)
    np.testing.assert_allclose(scaled.mean, reward)
    alone = draws_of(p, [reward] * 4, [[0, 0, 1, 0]]).within(0.0, 1.0)
    np.testing.assert_allclose(alone.mean, reward)


@pytest.mark.parametrize("tail", [0.0, 1.0])
def test_it_errs_less_than_the_mean_of_the_rewards_whatever_rare_completions_earn(tail):
    """Half of the mass on two completions, the rest on 60, most of which earn `tail`; 8 draws each of 400 prompts."""
    rng = np.random.default_rng(0)
    p = np.stack([np.r_[0.3, 0.2, 0.5 * rng.dirichlet(np.full(60, 0.5))] for _ in range(400)])
    r = np.where(rng.random(p.shape) < 0.1, 1 - tail, tail)
    r[:, :2] = rng.random((400, 2)) < 0.5
    at = np.stack([rng.choice(62, 8, p=row) for row in p])
    earned, mass = np.take_along_axis(r, at, 1), np.take_along_axis(p, at, 1)
    firsts = known_mass(np.repeat(np.arange(400), 8), at.ravel(), earned.ravel(), mass.ravel(), 400).firsts
    truth, mean = (p * r).sum(1), firsts.within(0.0, 1.0).mean
    assert np.mean((mean - truth) ** 2) < 0.6 * np.mean((earned.mean(1) - truth) ** 2)


def test_prompts_without_draws_beside_others_and_other_ranges():
    of = FirstDraws(np.array([1, 1]), np.array([-1.0, 3.0]), np.array([0.4, 0.2]), np.array([0, 1]), np.array([0, 2, 0]))
    scaled = of.within(-1.0, 3.0)
    np.testing.assert_allclose(scaled.proved, [[0, 1], [0.2, 0.6], [0, 1]])
    assert np.isnan(scaled.mean).tolist() == [True, False, True]
    np.testing.assert_allclose(scaled.limits()[[0, 2]], [[0, 1], [0, 1]])
    alone = of.subset(np.array([False, True, False])).within(-1.0, 3.0)
    np.testing.assert_allclose(alone.limits()[0], scaled.limits()[1])
    assert alone.mean[0] == pytest.approx(scaled.mean[1])


def test_rows_that_stand_for_several_draws_are_those_draws():
    p, r = POLICIES["graded"]
    sequence = np.array([1, 0, 1, 2, 0, 0])
    one_by_one = draws_of(p, r, [sequence])
    kinds, first, count = np.unique(sequence, return_index=True, return_counts=True)
    rows = np.asarray(r)[kinds], np.asarray(p)[kinds]
    joined = known_mass(np.zeros(3, int), kinds, *rows, 1, rank=first, count=count).firsts
    for name in ("prompt", "reward", "mass", "rank", "n"):
        np.testing.assert_array_equal(getattr(one_by_one, name), getattr(joined, name))
