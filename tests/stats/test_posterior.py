"""The routed posterior: calibration on sets whose truth is known, invariances, and the degenerate sets that are our subject."""

import numpy as np
import pytest

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.posterior import posterior
from flatspot.stats.zones import Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))


def judged(rewards, zones=ZONES, r_star=None):
    m, n = rewards.shape
    evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
    return posterior(evidence, np.full(m, zones.hi) if r_star is None else r_star, zones, 8)


def binary(name, m, rng):
    u = rng.random(m)
    if name == "hard":
        p = np.where(u < 0.4, 0.0, np.where(u < 0.5, 1.0, rng.beta(0.6, 1.2, m)))
    elif name == "easy":
        p = np.where(u < 0.1, 0.0, np.where(u < 0.55, 0.995, rng.random(m)))
    else:
        p = rng.beta(0.25, 1, m)
    return p, np.sqrt(p * (1 - p)), lambda n: (rng.random((m, n)) < p[:, None]).astype(float)


def few_valued(name, m, rng):
    w = rng.dirichlet([0.3, 0.2, 0.2], m)
    values = np.array([0.0, 0.5, 1.0])
    mean = w @ values
    return mean, np.sqrt(w @ values**2 - mean**2), lambda n: np.stack([rng.choice(values, n, p=x) for x in w])


def normal(name, m, rng):
    mean, std = rng.uniform(0.1, 0.9, m), np.exp(rng.normal(-3, 0.7, m))
    return mean, std, lambda n: mean[:, None] + std[:, None] * rng.normal(size=(m, n))


def zero_inflated(name, m, rng):
    q = rng.beta(0.3, 1, m)
    mean, variance = 4 / 7, 12 / (49 * 8)
    std = np.sqrt(q * variance + q * (1 - q) * mean**2)
    return q * mean, std, lambda n: (rng.random((m, n)) < q[:, None]) * rng.beta(4, 3, (m, n))


FAMILIES = [
    (binary, "hard", "two-valued"),
    (binary, "easy", "two-valued"),
    (binary, "no atoms", "two-valued"),
    (few_valued, "", "few-valued"),
    (normal, "", "continuous"),
    (zero_inflated, "", "zero-inflated"),
]


@pytest.mark.parametrize(("family", "name", "model"), FAMILIES)
def test_stated_errors_are_realised_and_std_limits_cover(family, name, model):
    rng = np.random.default_rng(7)
    mean, std, draw = family(name, 1500, rng)
    found = judged(draw(16))
    assert found.model == model
    choice = found.wrong.argmin(-1)
    realised = ZONES.wrong(mean, std, np.ones_like(mean))[np.arange(len(mean)), choice].mean()
    assert realised <= found.wrong.min(-1).mean() + 0.025
    assert ((found.std_lo <= std + 1e-9) & (std <= found.std_hi + 1e-9)).mean() >= 0.91
    states = ZONES.states(mean, std, np.ones_like(mean)).mean(0)
    assert (found.fractions[:, 1] - 0.02 <= states).all()
    assert (states <= found.fractions[:, 2] + 0.02).all()


@pytest.mark.parametrize(("family", "name", "model"), FAMILIES[:4])
def test_the_forecast_foretells_held_out_groups(family, name, model):
    rng = np.random.default_rng(11)
    _, _, draw = family(name, 1500, rng)
    found = judged(draw(16)).forecast
    for k, (share, lo, hi) in zip(found.group_sizes, found.informative, strict=True):
        groups = np.stack([draw(k) for _ in range(4)])
        held_out = (groups.max(-1) > groups.min(-1)).mean()
        assert abs(share - held_out) < 0.03
        assert lo <= share <= hi
        assert hi > lo


def test_two_valued_judgements_survive_an_affine_map_and_any_order():
    rng = np.random.default_rng(0)
    _, _, draw = binary("hard", 300, rng)
    rewards = draw(12)
    base, order = judged(rewards), rng.permutation(300)
    shuffled = judged(rewards[order])
    np.testing.assert_allclose(base.wrong[order], shuffled.wrong, atol=1e-12)
    moved = judged(rewards * 4 - 1, Zones(ZONES.epsilon, -1.0, 3.0))
    np.testing.assert_allclose(base.wrong, moved.wrong, atol=1e-12)
    np.testing.assert_allclose(base.std_hi * 4, moved.std_hi, atol=1e-12)


def test_more_failures_never_make_vanishing_less_likely():
    for n in (4, 8, 16, 32):
        rewards = np.zeros((n + 1, n))
        for hits in range(n + 1):
            rewards[hits, :hits] = 1
        vanishing = judged(np.repeat(rewards, 300 // n + 1, 0)).states[:: 300 // n + 1, 0]
        assert (np.diff(vanishing) <= 1e-9).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("m", [1, 3, 400])
@pytest.mark.parametrize("n", [1, 2, 10])
def test_equal_rewards_leave_doubt(value, m, n):
    found = judged(np.full((m, n), value))
    assert (found.std_hi > found.std_lo).all()
    assert (found.wrong.min(-1) > 0).all()
    assert (found.fractions[:, 2] > found.fractions[:, 1]).all()
    assert (found.forecast.informative[:, 2] > found.forecast.informative[:, 1]).all()
    if m == 400 and n == 10:  # four thousand equal rewards: by then the set leans the right way
        assert set(found.states.argmax(-1)) == {2 if value == 1.0 else 0}


def test_ten_zeros_allow_a_std_of_0_46():
    assert judged(np.zeros((1, 10))).std_hi[0] == pytest.approx(0.46, abs=0.005)


def test_unscored_prompts_are_nan_and_change_nothing_else():
    rng = np.random.default_rng(0)
    rewards = rng.integers(0, 2, (50, 8)).astype(float)
    holes = rewards.copy()
    holes = np.concatenate([holes, np.full((3, 8), np.nan)])
    found, base = judged(holes), judged(rewards)
    assert np.isnan(found.states[50:]).all()
    np.testing.assert_allclose(found.states[:50], base.states)


def test_nothing_scored_at_all():
    found = judged(np.full((4, 3), np.nan))
    assert found.model == "none"
    assert np.isnan(found.states).all()
    assert found.fractions[:, 1:].tolist() == [[0.0, 1.0]] * 3


def test_one_sample_per_prompt_of_a_continuous_reward_is_unsure():
    found = judged(np.random.default_rng(0).random((60, 1)))
    assert found.model == "continuous"
    assert (found.std_hi - found.std_lo >= 0.25).all()


def test_a_million_draws_of_one_prompt():
    found = judged(np.random.default_rng(0).integers(0, 2, (1, 100_000)).astype(float))
    assert found.states[0, 1] > 0.999


def test_each_prompts_own_achievable_reward_counts():
    """Half is all there is to earn for the second prompt: it is solved where the first is vanishing."""
    found = judged(np.full((2, 64), 0.5), r_star=np.array([1.0, 0.5]))
    assert found.states.argmax(-1).tolist() == [0, 2]


def test_few_near_normal_rewards_are_not_mixed_with_the_whole_set():
    """Three prompts of eight rewards at .2, .5 and .8, std .02: each must climb 10 to 40 of its own stds."""
    rng = np.random.default_rng(0)
    found = judged(np.array([[0.2], [0.5], [0.8]]) + 0.02 * rng.normal(size=(3, 8)))
    assert found.model == "continuous"
    assert found.states.argmax(-1).tolist() == [0, 0, 0]


def test_a_reward_nobody_has_earned_yet_is_possible():
    """A format reward of .1 and never the 1.0: with little data, more than .1 may still come."""
    small, large = judged(np.array([[0.1, 0.0, 0.1, 0.1]] * 3)), judged(np.array([[0.1, 0.0] * 32] * 60))
    assert small.model == large.model == "few-valued"
    assert small.wrong.min(-1).max() > 0.05
    assert large.states.argmax(-1).tolist() == [0] * 60
