"""What is left of binary prompts, against sums over a fine grid, simulation, and policies that are known in full."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.npmle import GRID, fit_mixture
from flatspot.stats.models.proved import hold_to_proof, proof_of
from flatspot.stats.models.unseen_binary import NewDraws
from flatspot.stats.zones import Odds, Zones, gain_of, mixed_of

ZONES = Zones(0.0506)


def drawn(policies, rewards, n, rng):
    """Rows (prompt, completion, reward, mass) of n draws of each policy [M, C]."""
    completion = np.stack([rng.choice(policies.shape[1], n, p=p) for p in policies])
    prompt = np.repeat(np.arange(len(policies)), n)
    at = (prompt, completion.ravel())
    return prompt, completion.ravel(), rewards[at], policies[at]


def policies_and_rewards(m, rng, width=30):
    policies = rng.dirichlet(np.full(width, 0.2), m)
    return policies, (rng.random((m, width)) < rng.beta(0.3, 0.7, (m, 1))).astype(float)


def test_it_is_the_mixture_of_betas_over_what_the_distinct_completions_leave():
    rng = np.random.default_rng(0)
    policies, rewards = policies_and_rewards(250, rng)
    prompt, completion, reward, mass = drawn(policies, rewards, 9, rng)
    firsts = known_mass(prompt, completion, reward, mass, 250).firsts
    new, rows = NewDraws.of(firsts, 0.0, 1.0), np.arange(250)
    left = new.open_share(rows)
    np.testing.assert_allclose(left.chance.sum(1), 1)
    n, s = np.zeros(250, int), np.zeros(250, int)
    for i in range(250):
        distinct = np.unique(completion[prompt == i])
        n[i], s[i] = len(distinct), int(rewards[i, distinct].sum())
    g = fit_mixture(n, s)[0].weights
    for i in range(0, 250, 25):
        seen = np.unique(completion[prompt == i])
        known, earned = policies[i, seen].sum(), policies[i, seen] @ rewards[i, seen]
        posterior = g * GRID ** s[i] * (1 - GRID) ** (n[i] - s[i])
        posterior /= posterior.sum()
        many = 1 / firsts.alike[i] - 1
        shares = (np.arange(4000) + 0.5) / 4000
        at = np.clip(GRID, 1e-9, 1 - 1e-9)[:, None]
        up_to = beta.cdf(np.linspace(0, 1, 4001), many * at, many * (1 - at))
        density = posterior @ np.diff(up_to, axis=1)
        density /= density.sum()
        for value in (lambda p: p, lambda p: p**2, lambda p: (1 - p) ** 8):
            wanted = density @ value(earned + (1 - known) * shares)
            assert left.expect(value(left.p))[i] == pytest.approx(wanted, abs=0.012 * (1 - known) + 1e-6)
        assert left.p[i, [0, -1]] == pytest.approx([earned, earned + 1 - known])


def test_the_same_wrong_answer_drawn_sixteen_times_is_one():
    """Beside a set whose prompts never succeed and one whose prompts always do."""
    rng = np.random.default_rng(1)
    m = 100
    once, often = (known_mass(*(np.concatenate(c) for c in zip(*rows, strict=True)), m + 1) for rows in _beside(m, rng))
    assert once.firsts.n[m] == 1 and often.firsts.n[m] == 16
    first, second = (NewDraws.of(known.firsts, 0.0, 1.0).open_share(np.array([m])) for known in (once, often))
    np.testing.assert_allclose(first.chance, second.chance)
    np.testing.assert_allclose(first.p, second.p)


def _beside(m, rng):
    """The same m prompts, with one more whose one answer of probability 0.3 came once, and sixteen times."""
    policies, rewards = policies_and_rewards(m, rng)
    rows = drawn(policies, rewards, 8, rng)
    for times in (1, 16):
        yield [rows, (np.full(times, m), np.full(times, 99), np.zeros(times), np.full(times, 0.3))]


def test_where_nothing_is_open_all_of_it_is_at_what_is_known():
    firsts = known_mass(np.zeros(2, int), np.arange(2), np.array([0.0, 1.0]), np.array([0.6, 0.4]), 1).firsts
    left = NewDraws.of(firsts, 0.0, 1.0).open_share(np.array([0]))
    assert left.expect(left.p)[0] == pytest.approx(0.4)
    assert np.ptp(left.p) == pytest.approx(0)


@pytest.mark.parametrize("alone", ["a prompt without a new draw", "none has one"])
def test_prompts_without_a_new_draw_are_left_out(alone):
    some = alone != "none has one"
    rows = ([0, 0], [0, 1], [0.0, 1.0], [0.2, 0.3]) if some else ([], [], [], [])
    known = known_mass(*(np.array(c, t) for c, t in zip(rows, (int, int, float, float), strict=True)), 2)
    new = NewDraws.of(known.firsts, 0.0, 1.0)
    assert new.open_share(np.flatnonzero(known.total > 0)).chance.sum() == pytest.approx(int(some))


def test_verdicts_are_wrong_about_as_often_as_they_say():
    said, wrong = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        policies, rewards = policies_and_rewards(250, rng)
        rows = drawn(policies, rewards, 12, rng)
        model = fit(evidence_of_rows(rows[0], rows[2], 250), np.ones(250), ZONES)
        proof = proof_of(known_mass(*rows, 250), np.ones(250), ZONES, binary=True)
        loss, open_ = hold_to_proof(model, proof).loss, ~proof.holds
        p = np.clip((policies * rewards).sum(1), 0, 1)
        truth = ZONES.loss(Odds(mixed_of(p, 8), gain_of(p, 8), 1 - p), 1.0)
        said.append(loss[open_].min(1))
        wrong.append(truth[open_][np.arange(open_.sum()), loss[open_].argmin(1)])
    said, wrong = np.concatenate(said), np.concatenate(wrong)
    assert len(said) > 800 and wrong.mean() == pytest.approx(said.mean(), abs=0.04)
    for low, high in ((0.0, 0.1), (0.1, 0.5)):
        inside = (said >= low) & (said < high)
        assert inside.sum() > 50 and wrong[inside].mean() == pytest.approx(said[inside].mean(), abs=0.08)
