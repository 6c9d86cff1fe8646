"""Looking ahead over new draws, against a recursion state by state; and triage with masses, on policies that are known whole."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from flatspot.rollouts.rounds import Seen, run_rounds
from flatspot.stats.models.unseen_binary import SHARES
from flatspot.stats.triage.ahead import look_ahead
from flatspot.stats.triage.decider import Adaptive, finish
from flatspot.stats.triage.plan import Plan
from flatspot.stats.zones import STATES, Odds, Zones, gain_of, mixed_of


@pytest.mark.parametrize("price", [0.3, 0.02, 0.001])
def test_the_sweep_is_the_recursion(price):
    rng = np.random.default_rng(1)
    chance, loss, steps = rng.dirichlet(np.full(len(SHARES), 0.3), 3), rng.random((3, len(SHARES), 3)) < 0.5, 5
    unseen = np.array([0.5, 0.1, 1.0])
    swept = look_ahead(chance, loss.astype(float), price / unseen[None], unseen, steps)
    for i in range(3):

        def state(n, s, i=i):
            joint = chance[i] * SHARES**s * (1 - SHARES) ** (n - s)
            return joint / joint.sum()

        @lru_cache(None)
        def best(n, s, i=i):
            """(value, error, new draws, go)"""
            posterior = state(n, s)
            least = min(posterior @ loss[i, :, d] for d in range(3))
            if n == steps:
                return least, least, 0.0, False
            m = posterior @ SHARES
            one, zero = best(n + 1, s + 1), best(n + 1, s)
            onwards = price / unseen[i] + m * one[0] + (1 - m) * zero[0]
            if onwards < least - 1e-12:
                return onwards, m * one[1] + (1 - m) * zero[1], 1 + m * one[2] + (1 - m) * zero[2], True
            return least, least, 0.0, False

        _, error, draws, go = best(0, 0)
        assert swept.go[0, i] == go
        assert swept.error[0, i] == pytest.approx(error)
        assert swept.draws[0, i] == pytest.approx(draws / unseen[i])


def policies(m, rng):
    """[m, 30] probabilities of completions and their 0/1 rewards: mostly few likely completions."""
    p = rng.dirichlet(np.full(30, 0.15), m)
    return p, (rng.random((m, 30)) < rng.beta(0.3, 0.5, m)[:, None]).astype(float)


def triaged(p, reward, proofs, seed):
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.choice(p.shape[1], 64, p=row) for row in p])
    decider = Adaptive(Plan(len(p), target_error=0.05, reward_range=(0.0, 1.0), pilot=2, proofs=proofs))

    def draw(this):
        at = drawn[this.prompts[:, None], this.first[:, None] + np.arange(this.n_completions)]
        return np.take_along_axis(reward[this.prompts], at, 1), Seen(at, np.take_along_axis(p[this.prompts], at, 1)) if proofs else None

    run_rounds(decider, draw)
    return finish(decider.state)


def test_with_masses_as_many_draws_leave_half_the_error_and_no_more_than_is_said():
    rows, wrong, said = {False: 0, True: 0}, {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for seed in range(2):
        p, reward = policies(180, np.random.default_rng(seed))
        mean = (p * reward).sum(1)
        loss = Zones(0.05).loss(Odds(mixed_of(mean, 8), gain_of(mean, 8), 1 - mean), 1.0)
        for proofs in (False, True):
            t = triaged(p, reward, proofs, seed)
            label = np.array([STATES.index(v) if v in STATES else -1 for v in t.verdict])
            given = label >= 0
            wrong_here = loss[np.flatnonzero(given), label[given]]
            rows[proofs] += int(t.n_samples.sum())
            wrong[proofs] += wrong_here.mean() / 2
            said[proofs] += t.predicted_error / 2
            if proofs:
                proved = t.fitted.proved
                assert not wrong_here[proved[given]].any()
                assert 0.2 < proved.mean() < 1
    assert rows[True] < 1.1 * rows[False]
    assert wrong[True] < 0.7 * wrong[False]
    assert wrong[True] < said[True] + 0.02
