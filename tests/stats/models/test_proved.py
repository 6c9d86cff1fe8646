"""A model held to proof, against policies whose every completion is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from flatspot.stats.decide import give_verdicts
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.proved import ProvedModel, hold_to_proof, proof_of
from flatspot.stats.zones import Odds, Zones

M = 60


@dataclass
class Policies:
    """[M, C] probabilities of the completions of M prompts, and their rewards; and a sample of them."""

    p: np.ndarray
    reward: np.ndarray

    def sample(self, n, rng):
        drawn = np.stack([rng.choice(self.p.shape[1], n, p=row) for row in self.p])
        prompt = np.repeat(np.arange(len(self.p)), n)
        return prompt, drawn.ravel(), np.take_along_axis(self.reward, drawn, 1).ravel(), np.take_along_axis(self.p, drawn, 1).ravel()

    def odds(self, k, top):
        """Of one group, from the whole distribution."""
        mean = (self.p * self.reward).sum(1)
        mixed, gain = np.empty(len(mean)), np.empty(len(mean))
        for i, (p, r) in enumerate(zip(self.p, self.reward, strict=True)):
            values, place = np.unique(r, return_inverse=True)
            q = np.bincount(place, p)
            up_to = np.cumsum(q)
            mixed[i], gain[i] = 1 - (q**k).sum(), (values * (up_to**k - (up_to - q) ** k)).sum() - mean[i]
        return Odds(mixed, gain, top - mean)


def held_to(model, known, zones):
    return hold_to_proof(model, proof_of(known, np.ones(len(model.n)), zones, binary=model.family == "binary"))


def policies(kind, rng):
    p = rng.dirichlet(np.full(40, 0.15), M)
    chance = rng.beta(0.3, 0.5, M)[:, None]
    if kind == "binary":
        return Policies(p, (rng.random((M, 40)) < chance).astype(float))
    return Policies(p, np.round(rng.beta(2 * chance, 2 * (1 - chance), (M, 40)), 1))


@pytest.mark.parametrize("kind", ["binary", "graded"])
@pytest.mark.parametrize("advantage", ["centered", "normalized"])
def test_no_proved_verdict_is_wrong_and_no_impossible_state_is_true(kind, advantage):
    zones, proved = Zones(0.0506, advantage=advantage), 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = policies(kind, rng)
        prompt, completion, reward, mass = truth.sample(int(rng.integers(2, 24)), rng)
        model = fit(evidence_of_rows(prompt, reward, M), np.ones(M), zones)
        held = held_to(model, known_mass(prompt, completion, reward, mass, M), zones)
        assert isinstance(held, ProvedModel)
        odds = truth.odds(8, 1.0)
        wrong, state = zones.loss(odds, held.scale), zones.states(odds, held.scale)
        assert (held.loss >= 0).all()
        assert not (wrong[(held.loss == 0)] == 1).any()
        assert not (wrong[(held.loss == 1)] == 0).any()
        assert (held.states[state == 1] > 0).all()
        np.testing.assert_allclose(held.states.sum(-1), 1)
        decisions = give_verdicts(held, 0.03, worst_case=False)
        given = decisions.decided & held.proved
        assert not wrong[np.arange(M), decisions.best][given].any()
        assert (decisions.error[held.proved] == 0).all()
        proved += int(given.sum())
        for k in (4, 32):
            odds = truth.odds(k, 1.0)
            bounds = held.proof.bounds(k)
            for value, (lo, hi) in ((odds.mixed, bounds.mixed.T), (odds.gain, bounds.gain.T), (1 - odds.headroom, bounds.mean.T)):
                assert (value >= lo - 1e-9).all()
                assert (value <= hi + 1e-9).all()
    assert proved > 100  # else nothing was tested


def test_one_completion_with_nearly_all_the_mass_is_enough():
    prompt = np.arange(M)
    rewards = (prompt % 2).astype(float)
    zones = Zones(0.0506)
    model = fit(evidence_of_rows(prompt, rewards, M), np.ones(M), zones)
    held = held_to(model, known_mass(prompt, prompt, rewards, np.full(M, 0.97), M), zones)
    assert give_verdicts(model, 0.03, worst_case=False).decided.sum() == 0
    assert give_verdicts(held, 0.03, worst_case=False).verdict.tolist() == ["vanishing", "solved"] * (M // 2)
    assert held.worst_case_error(give_verdicts(held, 0.03, worst_case=False).state) == 0


def test_what_is_proved_of_every_prompt_leaves_the_set_in_no_doubt():
    """One completion each, with nearly all of the mass: what the fit says of the rest of the set no longer matters."""
    prompt, rewards = np.arange(M), np.r_[np.zeros(M // 4), np.ones(M - M // 4)]
    zones = Zones(0.0506)
    model = fit(evidence_of_rows(prompt, rewards, M), np.ones(M), zones)
    held = held_to(model, known_mass(prompt, prompt, rewards, np.full(M, 0.97), M), zones)
    assert [held.set_limits(state) for state in range(3)] == [(0.25, 0.25), (0.0, 0.0), (0.75, 0.75)]
    lo, hi = model.set_limits(0)
    assert hi - lo > 0.1  # else nothing was tested


def test_a_set_is_told_no_more_and_no_less_than_what_is_proved_of_its_prompts():
    prompt, zones = np.arange(M), Zones(0.0506)
    rewards = (prompt % 3 == 0).astype(float)  # a third solved, the others vanishing
    model = fit(evidence_of_rows(prompt, rewards, M), np.ones(M), zones)
    held = held_to(model, known_mass(prompt, prompt, rewards, np.full(M, 0.97), M), zones)
    np.testing.assert_allclose(held.shares[:, 0], [2 / 3, 0, 1 / 3])
    np.testing.assert_allclose([held.set_limits(0), held.set_limits(2)], [(2 / 3, 2 / 3), (1 / 3, 1 / 3)])
    most = 1 - 0.97**8 - 0.03**8 + 1e-9  # of a group of 8, where all the rest earns the other reward
    assert held.forecast((8,))[0, 0] == pytest.approx(held.mixed(8).mean()) and held.mixed(8).max() <= most
    assert held.forecast((8,))[0, 1] <= held.forecast((8,))[0, 0] < held.forecast((8,))[0, 2]  # prompts like these may differ
    half = np.arange(M // 2)
    part = held_to(model, known_mass(half, half, rewards[half], np.full(len(half), 0.97), M), zones)
    assert part.set_limits(0)[0] >= 1 / 3 and part.set_limits(0)[1] <= 5 / 6  # proved: 20 are, 10 are not


def test_the_worst_case_counts_proved_verdicts_as_right():
    rng = np.random.default_rng(3)
    prompt, rewards = np.repeat(np.arange(M), 8), (rng.random(8 * M) < np.repeat(rng.beta(0.3, 0.5, M), 8)).astype(float)
    zones = Zones(0.0506)
    model = fit(evidence_of_rows(prompt, rewards, M), np.ones(M), zones)
    half = np.arange(M // 2)
    held = held_to(model, known_mass(half, half, np.zeros(len(half)), np.full(len(half), 0.99), M), zones)
    verdict = np.zeros(M, int)
    rest = np.where(np.arange(M) < M // 2, -1, 0)
    assert held.worst_case_error(verdict) == pytest.approx(model.worst_case_error(rest) / 2)


@pytest.mark.parametrize("case", ["no range", "outside the range", "noise", "nothing known", "no rewards"])
def test_what_proves_nothing_leaves_the_model_as_it_is(case):
    prompt, rewards = np.repeat(np.arange(4), 4), np.tile([0.0, 0.0, 1.0, 1.0], 4)
    if case == "no rewards":
        rewards = np.full(16, np.nan)
    zones = Zones(0.0506, stated=case != "no range")
    model = fit(evidence_of_rows(prompt, rewards, 4), np.ones(4), zones)
    if case == "outside the range":
        rewards = rewards * 1.5
    completion = np.zeros(16, int) if case == "noise" else np.tile(np.arange(4), 4)
    mass = np.full(16, np.nan if case == "nothing known" else 0.2)
    assert held_to(model, known_mass(prompt, completion, rewards, mass, 4), zones) is model
    assert held_to(model, None, zones) is model
