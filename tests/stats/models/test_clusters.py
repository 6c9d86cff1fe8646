"""Limits for prompts of other tasks, against closed forms and tasks whose truth is known."""

import numpy as np
import pytest
from scipy import stats
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.clusters import deviations, open_limits, reliability, widened
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))


def model_of(p, k, rng, clusters=None):
    rewards = (rng.random((len(p), k)) < p[:, None]).astype(float)
    evidence = evidence_of_rows(np.repeat(np.arange(len(p)), k), rewards.ravel(), len(p))
    return fit(evidence, np.full(len(p), np.nan), ZONES, clusters=clusters)


@pytest.mark.parametrize("such", [0, 2, 9])
def test_tasks_that_are_all_or_nothing_have_the_limits_of_jeffreys(such):
    """10 tasks of 30 prompts, all of them such or none: Beta(such + 1/2, 10 - such + 1/2)."""
    tasks = np.repeat(np.arange(10), 30)
    values = (tasks < such).astype(float)[:, None]
    away = deviations(values, tasks, np.ones(1), np.random.default_rng(0))[:, 0] + such / 10
    exact = stats.beta(such + 0.5, 10 - such + 0.5)
    np.testing.assert_allclose(np.quantile(away, [0.025, 0.5, 0.975]), exact.ppf([0.025, 0.5, 0.975]), atol=0.02)


def test_neither_the_order_of_prompts_nor_the_names_of_tasks_matter():
    rng = np.random.default_rng(0)
    values, tasks, order = rng.random((60, 2)), rng.integers(0, 7, 60), rng.permutation(60)
    same = deviations(values[order], tasks[order] * 10 + 3, np.ones(2), np.random.default_rng(1))
    np.testing.assert_allclose(same, deviations(values, tasks, np.ones(2), np.random.default_rng(1)), atol=1e-9)


def test_what_little_is_shown_of_a_spread_is_not_taken_for_all_of_it():
    """Two kinds of tasks, 0 and 1, of which the probabilities of single prompts show 0.4 and 0.6."""
    tasks = np.repeat(np.arange(20), 10)
    chance = np.where(tasks % 2, 0.6, 0.4)
    assert reliability(chance) == pytest.approx(0.1)
    shown, true = (
        deviations(values[:, None], tasks, np.array([reliable]), np.random.default_rng(0)).std()
        for values, reliable in ((chance, 0.2), (tasks % 2 * 1.0, 1.0))
    )
    assert shown == pytest.approx(true, rel=0.01)


def test_squares_add_up_and_limits_stay_shares():
    limits, away = np.array([[0.5, 0.3, 0.6], [0.05, 0.0, 0.1]]), np.stack([np.linspace(-0.4, 0.4, 1001)] * 2, -1)
    mean, lo, hi = widened(limits, away, level=0.95).T
    np.testing.assert_allclose(mean, [0.5, 0.05])
    assert lo[0] == pytest.approx(0.5 - np.hypot(0.2, 0.38)) and hi[0] == pytest.approx(0.5 + np.hypot(0.1, 0.38))
    assert lo[1] == 0 and hi[1] <= 1
    assert open_limits(mean).tolist() == [[0.5, 0, 1], [0.05, 0, 1]]


def test_tasks_widen_the_limits_and_change_nothing_else():
    rng = np.random.default_rng(0)
    p, tasks = np.repeat(rng.choice([0.0, 0.5], 8), 20), np.repeat(np.arange(8), 20)
    plain, of_tasks = model_of(p, 8, np.random.default_rng(1)), model_of(p, 8, np.random.default_rng(1), tasks)
    assert (of_tasks.shares[:, 0] == plain.shares[:, 0]).all()
    assert of_tasks.shares[0, 1] < plain.shares[0, 1] - 0.05 and of_tasks.shares[0, 2] > plain.shares[0, 2] + 0.05
    assert np.diff(of_tasks.forecast((8,))[0, 1:]) > np.diff(plain.forecast((8,))[0, 1:]) + 0.1
    np.testing.assert_array_equal(of_tasks.states, plain.states)
    assert of_tasks.set_limits(0) == plain.set_limits(0)
    central, draws = of_tasks.mixed_shares((4, 8), 100)
    assert draws.shape == (100, 2) and (draws >= 0).all() and (draws <= 1).all()
    np.testing.assert_array_equal(central, plain.mixed_shares((4, 8), 100)[0])


def test_a_task_of_each_prompt_is_as_no_task():
    p = np.random.default_rng(0).random(30)
    plain, own = model_of(p, 8, np.random.default_rng(1)), model_of(p, 8, np.random.default_rng(1), np.arange(30))
    np.testing.assert_array_equal(own.shares, plain.shares)


def test_four_tasks_say_nothing_of_others():
    p, tasks = np.repeat([0.0, 0.0, 0.5, 0.5], 20), np.repeat(np.arange(4), 20)
    model = model_of(p, 8, np.random.default_rng(1), tasks)
    assert model.shares[:, 1:].tolist() == [[0, 1]] * 3
    assert model.forecast((4, 32))[:, 1:].tolist() == [[0, 1]] * 2
    assert model.mixed_shares((4,))[1].std() > 0.2


def test_prompts_without_a_reward_are_of_no_task():
    rng = np.random.default_rng(2)
    rewards, tasks = (rng.random((48, 8)) < 0.4).astype(float), np.repeat(np.arange(6), 8)
    scored = fit(evidence_of_rows(np.repeat(np.arange(48), 8), rewards.ravel(), 48), np.full(48, np.nan), ZONES, clusters=tasks)
    with_others = evidence_of_rows(np.repeat(np.arange(48), 8), rewards.ravel(), 50)
    more = fit(with_others, np.full(50, np.nan), ZONES, clusters=np.r_[tasks, 98, 99])
    np.testing.assert_array_equal(more.shares, scored.shares)


def test_graded_rewards_have_tasks_too():
    rng = np.random.default_rng(0)
    rewards = np.concatenate([np.full((40, 8), 0.5), rng.choice([0.0, 0.5, 1.0], (40, 8))])
    evidence = evidence_of_rows(np.repeat(np.arange(80), 8), rewards.ravel(), 80)
    plain, of_tasks = (fit(evidence, np.ones(80), Zones(0.05), clusters=c) for c in (None, np.repeat(np.arange(8), 10)))
    assert plain.family != "binary"
    assert of_tasks.shares[0, 2] > plain.shares[0, 2] + 0.05


@pytest.mark.thorough
@pytest.mark.parametrize("n_tasks", [8, 20])
def test_limits_hold_for_prompts_of_other_tasks(n_tasks):
    """30 sets of 20 prompts a task; the limits for further prompts of the same tasks held in under half of such sets."""

    def tasks(count, each, rng):
        return 1 / (1 + np.exp(-rng.normal(0.5, 3.0, (count, 1)) - rng.normal(0, 1.0, (count, each))))

    truth = ZONES.states(zero_one(tasks(20_000, 20, np.random.default_rng(5)).ravel()), 1.0).mean(0)
    held, alone = np.zeros(3), np.zeros(3)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        p = tasks(n_tasks, 20, rng).ravel()
        state = rng.bit_generator.state
        for counter, of in ((held, np.repeat(np.arange(n_tasks), 20)), (alone, None)):
            rng.bit_generator.state = state
            limits = model_of(p, 8, rng, of).shares
            counter += (limits[:, 1] <= truth) & (truth <= limits[:, 2])
    assert stats.binom.cdf(held.min(), 30, 0.95) > 0.01
    assert alone.min() < held.min()
