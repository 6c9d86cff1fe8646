"""Certificates: a nonnegative martingale under the null, so rejected too often never, at any stopping time."""

import numpy as np
import pytest

from flatspot.stats.models.binary import GRID, flat_prior
from flatspot.stats.triage.certificate import Certifier, e_values
from flatspot.stats.triage.draws import Draws
from flatspot.stats.triage.loop import triage

NULLS = {0: (0.05, 0.1, 0.5), 1: (0.0, 0.03, 0.05, 0.95, 1.0), 2: (0.95, 0.9, 0.2)}


@pytest.mark.parametrize(("state", "p"), [(s, p) for s, ps in NULLS.items() for p in ps])
def test_ten_thousand_streams_are_rejected_no_more_than_delta(state, p):
    delta, streams = 0.05, 10_000
    weights = np.where(GRID == 0, 0.5, flat_prior() / 2)
    log_e = e_values(weights, 0.05, 64)[..., state]
    s = np.cumsum(np.random.default_rng(state).random((streams, 64)) < p, 1)
    ever = (log_e[np.arange(1, 65), s] >= -np.log(delta)).any(1).mean()
    assert ever <= delta + 2 * np.sqrt(delta * (1 - delta) / streams)


@pytest.mark.parametrize(("state", "p"), [(s, p) for s, ps in NULLS.items() for p in ps])
def test_under_the_null_e_never_grows_on_average(state, p):
    """E[E_{n+1} | s] <= E_n at the sup's own point, summed over every path: the mean of E_n is at most 1."""
    log_e = e_values(flat_prior(), 0.05, 20)[..., state]
    chance = np.ones(1)
    for n in range(1, 21):
        chance = np.r_[chance * (1 - p), 0.0] + np.r_[0.0, chance * p]
        assert chance @ np.exp(log_e[n, : n + 1]) <= 1 + 1e-9


def test_what_the_tables_say_is_what_the_formula_says():
    weights = flat_prior()
    log_e = e_values(weights, 0.05, 10)
    low = GRID < 0.05
    h = np.where(low, 0.9 * weights / weights[low].sum() + 0.1 / low.sum(), 0.0)
    s, n = 1, 7
    assert np.exp(log_e[n, s, 0]) == pytest.approx((h * GRID**s * (1 - GRID) ** (n - s)).sum() / ((1 / 7) ** s * (6 / 7) ** (n - s)))


@pytest.mark.slow
def test_certificates_of_a_thousand_samples_are_finite():
    """Half ones of 900 samples are e^747 times likelier at 1/2 than at 0.05, and floats end at e^709."""
    weights = np.where(np.abs(GRID - 0.5) < 0.2, 1.0, 0.001)
    log_e = e_values(weights / weights.sum(), 0.05, 900)
    middle = 0.9 * weights[81] / weights[(GRID >= 0.05) & (GRID <= 0.95)].sum() + 0.1 / ((GRID >= 0.05) & (GRID <= 0.95)).sum()
    ratio = -900 * np.log(2) - 450 * (np.log(0.05) + np.log(0.95))
    assert ratio + np.log(middle) < log_e[900, 450, 1] < ratio  # at least the term of p = 1/2, at most all the mass there
    assert not np.isnan(log_e).any()


def test_certified_verdicts_hold_and_the_rest_is_undecided():
    rng = np.random.default_rng(0)
    p = np.repeat([0.0, 0.5, 1.0], 100)
    t = triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), 300, certify=0.05, max_samples=128)
    truth = np.repeat(["vanishing", "learnable", "solved"], 100)
    given = t.certified != ""
    assert (t.certified[given] != truth[given]).mean() <= 0.05
    assert (t.verdict[~given] == "undecided").all()
    assert given.mean() > 0.95
    assert t.n_samples[100:200].mean() < 20 < 60 < t.n_samples[:100].mean()


def test_weights_come_from_the_other_half_alone():
    """Changing one prompt's pilot rewards leaves the table it is judged by as it was."""
    rewards = (np.random.default_rng(0).random((40, 4)) < 0.4).astype(float)
    changed = rewards.copy()
    changed[7] = 1 - changed[7]
    tables = []
    for pilot in (rewards, changed):
        made = Certifier.frozen(Draws.none(40).add(np.arange(40), pilot), 1.0, 0.05, 0.05, 16, 0)
        tables.append((made.log_e[made.half[7]], made.log_e[1 - made.half[7]]))
    np.testing.assert_array_equal(tables[0][0], tables[1][0])
    assert (tables[0][1] != tables[1][1]).any()
