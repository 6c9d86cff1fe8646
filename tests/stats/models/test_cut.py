"""The distribution of p cut to what is proved, against sums over a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.cut import cut_to_proof
from flatspot.stats.models.npmle import GRID, flat_prior


def new_draws(masses, rewards, sequence):
    sequence = np.asarray(sequence)
    return known_mass(np.zeros(len(sequence), int), sequence, np.asarray(rewards)[sequence], np.asarray(masses)[sequence], 1).firsts.within(
        0, 1
    )


@pytest.mark.parametrize("sequence", [[0], [0, 1], [1, 2, 0], [0, 0, 0, 1, 0], [3, 1]])
def test_under_an_even_g_it_is_the_likelihood_of_the_new_draws(sequence):
    masses, rewards = [0.3, 0.2, 0.1, 0.05], [0.0, 1.0, 0.0, 1.0]
    cut = cut_to_proof(flat_prior(), new_draws(masses, rewards, sequence))
    lo = sum(masses[c] * rewards[c] for c in set(sequence))
    hi = lo + 1 - sum(masses[c] for c in set(sequence))
    p = lo + (np.arange(20_000) + 0.5) / 20_000 * (hi - lo)
    like, known, earned, seen = np.ones_like(p), 0.0, 0.0, set()
    for c in sequence:
        if c not in seen:
            q = (p - earned) / (1 - known)
            like *= q if rewards[c] else 1 - q
            seen.add(c)
            known, earned = known + masses[c], earned + masses[c] * rewards[c]
    like /= like.sum()
    assert cut.chance.sum() == pytest.approx(1)
    assert cut.p.min() == pytest.approx(lo) and cut.p.max() == pytest.approx(hi)
    assert cut.expect(cut.p)[0] == pytest.approx(like @ p, abs=3e-3)
    assert cut.expect(cut.p**2)[0] == pytest.approx(like @ p**2, abs=3e-3)


def test_it_follows_g_within_what_is_proved():
    g = np.where(GRID < 0.02, 1.0, 0.0) + np.where(GRID > 0.9, 5.0, 0.0)
    new = new_draws([0.8], [0.0], [0])
    cut = cut_to_proof(g / g.sum(), new)
    assert cut.p.max() == pytest.approx(0.2)
    assert cut.chance[0][cut.p[0] <= 0.021].sum() > 0.99


def test_where_nothing_is_open_all_of_it_is_at_what_is_known():
    cut = cut_to_proof(flat_prior(), new_draws([0.6, 0.4], [0.0, 1.0], [0, 1]))
    assert cut.expect(cut.p)[0] == pytest.approx(0.4)
    assert cut.chance.sum() == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 3, 9])
def test_new_draws_count_where_the_fitted_distribution_says_nothing(n):
    only = np.where(np.arange(len(GRID)) == np.abs(GRID - 0.9).argmin(), 1.0, 0.0)  # nothing under 0.4, all that one failure leaves open
    masses = np.r_[0.6, np.full(n - 1, 1e-3)]
    cut = cut_to_proof(only, new_draws(masses, np.zeros(n), np.arange(n)))
    open_ = 1 - np.r_[0.0, np.cumsum(masses)]
    p = (np.arange(20_000) + 0.5) / 20_000 * open_[-1]
    like = np.prod([1 - p / u for u in open_[:-1]], axis=0)
    assert float(cut.expect(cut.p[:, :, None])[0, 0]) == pytest.approx(float(p @ like / like.sum()), rel=0.02)
