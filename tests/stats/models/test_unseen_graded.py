"""Graded prompts part of whose completions are known, against brute force, closed forms and policies that are known in full."""

from __future__ import annotations

import numpy as np
import pytest

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.best_of import all_equal, expected_best
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.graded import GradedModel
from flatspot.stats.models.moments import moments
from flatspot.stats.models.parts import split
from flatspot.stats.models.proved import hold_to_proof, proof_of
from flatspot.stats.models.unseen_graded import Unseen, evidence_of_new, with_known
from flatspot.stats.zones import Odds, Zones

ZONES = Zones(0.0506)
KINDS = {
    "few values": lambda rng, chance, shape: rng.choice([0.0, 0.25, 0.5, 1.0], shape),
    "continuous": lambda rng, chance, shape: rng.beta(2 * chance, 2 * (1 - chance), shape),
    "zero-inflated": lambda rng, chance, shape: (rng.random(shape) < chance) * rng.beta(4, 2, shape),
    "values of one's own": lambda rng, chance, shape: np.where(rng.random(shape) < 0.6, chance, rng.random(shape)),
}


def sample(policies, rewards, n, rng):
    """Rows (prompt, completion, reward, mass) of n draws of each policy [M, C]."""
    drawn = np.stack([rng.choice(policies.shape[1], n, p=p) for p in policies])
    prompt = np.repeat(np.arange(len(policies)), n)
    at = (prompt, drawn.ravel())
    return prompt, drawn.ravel(), rewards[at], policies[at]


def draws_of(known, draws=300):
    parts = split(evidence_of_new(known.firsts), ZONES)
    model = GradedModel.fit(evidence_of_new(known.firsts), np.ones(known.n_prompts), ZONES)
    rng, rows = np.random.default_rng(0), np.arange(known.n_prompts)
    plain = moments(parts, rows, model.prior, draws, rng)
    return parts, plain, with_known(plain, parts, Unseen.of(known, known.firsts), rows, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_of_which_all_is_known_is_what_it_is(kind):
    rng = np.random.default_rng(1)
    policies = rng.dirichlet(np.ones(5), 40)
    rewards = KINDS[kind](rng, rng.beta(0.5, 0.5, (40, 1)), (40, 5))
    prompt, completion = np.repeat(np.arange(40), 5), np.tile(np.arange(5), 40)
    known = known_mass(prompt, completion, rewards.ravel(), policies.ravel(), 40)
    parts, _, whole = draws_of(known, draws=8)
    mean = (policies * rewards).sum(1)
    std = np.sqrt((policies * (rewards - mean[:, None]) ** 2).sum(1))
    best, equal = np.zeros(40), np.zeros(40)
    for i in range(40):
        for reward in np.unique(rewards[i]):
            below, here = policies[i][rewards[i] < reward].sum(), policies[i][rewards[i] == reward].sum()
            best[i] += reward * ((below + here) ** 8 - below**8)
            equal[i] += here**8
    for ours, truth in ((whole.mean, mean), (whole.std, std), (expected_best(whole, parts, 8), best), (all_equal(whole, 8), equal)):
        np.testing.assert_allclose(ours, np.broadcast_to(truth[:, None], ours.shape), atol=2e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unseen_has_the_mean_and_the_variance_of_few_completions_of_the_prompt(kind):
    """Their probabilities v are any with sum v² = l: t = sum v_k r_k has the mean of the reward, and l times its variance."""
    rng = np.random.default_rng(2)
    policies = rng.dirichlet(np.full(60, 0.3), 30)
    rewards = KINDS[kind](rng, rng.beta(0.5, 0.5, (30, 1)), (30, 60))
    known = known_mass(*sample(policies, rewards, 6, rng), 30)
    unseen = Unseen.of(known, known.firsts)
    _, plain, whole = draws_of(known, draws=20_000)
    earned = np.bincount(known.prompt, known.mass * known.reward, 30)
    t = (whole.mean - earned[:, None]) / unseen.mass[:, None]
    open_ = unseen.mass > 0.02
    np.testing.assert_allclose(t.mean(1)[open_], plain.mean.mean(1)[open_], atol=0.02)
    wanted = plain.mean.var(1) + unseen.alike * (plain.std**2).mean(1)
    np.testing.assert_allclose(t.var(1)[open_], wanted[open_], rtol=0.12, atol=2e-3)


def test_how_alike_unseen_completions_are_is_told_by_those_that_were_new():
    """Broken sticks with concentration a: of whatever is left, two draws are the same with probability 1 / (1 + a)."""
    rng, m = np.random.default_rng(3), 2000
    broken = rng.beta(1, 2.0, (m, 60))
    policies = broken * np.cumprod(np.c_[np.ones(m), 1 - broken[:, :-1]], 1)
    policies /= policies.sum(1, keepdims=True)
    known = known_mass(*sample(policies, np.zeros((m, 60)), 12, rng), m)
    assert Unseen.of(known, known.firsts).alike.mean() == pytest.approx(1 / 3, abs=0.03)  # a little more: the more alike, the fewer are new


@pytest.mark.parametrize("kind", KINDS)
def test_no_draw_lies_outside_of_what_is_proved(kind):
    rng = np.random.default_rng(4)
    policies = rng.dirichlet(np.full(40, 0.15), 60)
    rewards = KINDS[kind](rng, rng.beta(0.3, 0.5, (60, 1)), (60, 40))
    known = known_mass(*sample(policies, rewards, 10, rng), 60)
    _, _, whole = draws_of(known)
    bounds = proof_of(known, np.ones(60), ZONES, binary=False).bounds(8)
    mixed = 1 - all_equal(whole, 8)
    assert (mixed >= bounds.mixed[:, :1] - 1e-9).all() and (mixed <= bounds.mixed[:, 1:] + 1e-9).all()
    if kind == "few values":  # the mean of a continuous part may pass the range by a little
        assert (whole.mean >= bounds.mean[:, :1] - 1e-9).all() and (whole.mean <= bounds.mean[:, 1:] + 1e-9).all()
        assert (whole.std >= bounds.std[:, :1] - 1e-7).all() and (whole.std <= bounds.std[:, 1:] + 1e-7).all()
    assert (np.ptp(mixed, axis=1) > 0.05).sum() > 5  # else nothing was tested


def _state_of(policies, rewards, zones, scale):
    mixed, gain, mean = (np.empty(len(policies)) for _ in range(3))
    for i, (p, r) in enumerate(zip(policies, rewards, strict=True)):
        values, place = np.unique(r, return_inverse=True)
        q = np.bincount(place, p)
        up_to = np.minimum(np.cumsum(q), 1)
        mean[i] = (p * r).sum()
        mixed[i], gain[i] = 1 - (q**8).sum(), (values * (up_to**8 - (up_to - q).clip(0) ** 8)).sum() - mean[i]
    return zones.states(Odds(mixed, gain, 1 - mean), scale)


def test_states_are_as_probable_as_they_are_often_true():
    """Of what is unproved, the sure ones too: a completion that came sixteen times is one."""
    probable, true, of_counts = [], [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        policies = rng.dirichlet(np.full(30, 0.2), 250)
        chance = rng.dirichlet(np.full(5, 0.4), 250)
        rewards = np.stack([rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], 30, p=c) for c in chance])
        rows = sample(policies, rewards, 12, rng)
        known = known_mass(*rows, 250)
        model = fit(evidence_of_rows(rows[0], rows[2], 250), np.ones(250), ZONES)
        proof = proof_of(known, np.ones(250), ZONES, binary=False)
        held = hold_to_proof(model, proof)
        open_ = ~proof.holds
        state = _state_of(policies, rewards, ZONES, held.scale)
        probable.append(held.states[open_])
        of_counts.append(model.states[open_])
        true.append(state[open_])
    probable, true, of_counts = (np.concatenate(x) for x in (probable, true, of_counts))
    assert _overconfident(probable, true) < 0.05
    assert _overconfident(of_counts, true) > 0.1  # else nothing was tested
    assert ((probable - true) ** 2).sum() < 0.95 * ((of_counts - true) ** 2).sum()


def _overconfident(probable, true, sure=0.8):
    """How much more often the state that is called surely is another than it says."""
    rows, called = np.arange(len(probable)), probable.argmax(1)
    surely = probable[rows, called] > sure
    assert surely.sum() > 30
    return (probable[rows, called] - true[rows, called])[surely].mean()
