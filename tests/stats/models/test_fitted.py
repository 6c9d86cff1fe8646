"""The fitted model, of binary and of graded rewards: calibration on sets whose truth is known, invariances, the degenerate sets."""

import numpy as np
import pytest
from scipy.stats import beta, binom
from truth import of_cdf, of_weights, zero_one

from flatspot.stats.decide import give_verdicts
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models import graded
from flatspot.stats.models.fitted import fit, spread
from flatspot.stats.zones import Odds, Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))
SIZES = (4, 8, 16, 32)
NORMAL_BEST = 1.4236003060452778  # E[max of 8] of standard normal rewards


def judged(rewards, zones=ZONES, r_star=None):
    m, n = rewards.shape
    evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
    return fit(evidence, np.full(m, zones.hi) if r_star is None else r_star, zones)


def binary(name, m, rng):
    u = rng.random(m)
    if name == "hard":
        p = np.where(u < 0.4, 0.0, np.where(u < 0.5, 1.0, rng.beta(0.6, 1.2, m)))
    elif name == "easy":
        p = np.where(u < 0.1, 0.0, np.where(u < 0.55, 0.995, rng.random(m)))
    else:
        p = rng.beta(0.25, 1, m)
    return zero_one(p), np.sqrt(p * (1 - p)), lambda n: (rng.random((m, n)) < p[:, None]).astype(float)


def few_valued(name, m, rng):
    w = rng.dirichlet([0.3, 0.2, 0.2], m)
    values = np.array([0.0, 0.5, 1.0])
    return of_weights(values, w), np.sqrt(w @ values**2 - (w @ values) ** 2), lambda n: np.stack([rng.choice(values, n, p=x) for x in w])


def normal(name, m, rng):
    mean, std = rng.uniform(0.1, 0.9, m), np.exp(rng.normal(-3, 0.7, m))
    odds = Odds(np.ones(m), NORMAL_BEST * std, 1 - mean)
    return odds, std, lambda n: mean[:, None] + std[:, None] * rng.normal(size=(m, n))


def zero_inflated(name, m, rng):
    q = rng.beta(0.3, 1, m)
    mean, variance = 4 / 7, 12 / (49 * 8)
    std = np.sqrt(q * variance + q * (1 - q) * mean**2)
    odds = of_cdf(lambda x: 1 - q[:, None] * beta.sf(x, 4, 3), 1 - q, q * mean)
    return odds, std, lambda n: (rng.random((m, n)) < q[:, None]) * rng.beta(4, 3, (m, n))


FAMILIES = [
    (binary, "hard", "binary"),
    (binary, "easy", "binary"),
    (binary, "no atoms", "binary"),
    (few_valued, "", "few-valued"),
    (normal, "", "continuous"),
    (zero_inflated, "", "zero-inflated"),
]


@pytest.mark.parametrize(("family", "name", "model"), FAMILIES)
def test_stated_errors_are_realized_and_std_limits_cover(family, name, model):
    rng = np.random.default_rng(7)
    odds, std, draw = family(name, 1500, rng)
    found = judged(draw(16))
    assert found.family == model
    choice = found.loss.argmin(-1)
    realized = ZONES.loss(odds, 1.0)[np.arange(len(std)), choice].mean()
    assert realized <= found.loss.min(-1).mean() + 0.025
    lo, hi = found.std_limits.T
    assert ((lo <= std + 1e-9) & (std <= hi + 1e-9)).mean() >= 0.91
    states = ZONES.states(odds, 1.0).mean(0)
    assert (found.shares[:, 1] - 0.02 <= states).all()
    assert (states <= found.shares[:, 2] + 0.02).all()


@pytest.mark.parametrize(("family", "name", "model"), FAMILIES[:4])
def test_the_forecast_foretells_held_out_groups(family, name, model):
    rng = np.random.default_rng(11)
    _, _, draw = family(name, 1500, rng)
    for k, (share, lo, hi) in zip(SIZES, judged(draw(16)).forecast(SIZES), strict=True):
        groups = np.stack([draw(k) for _ in range(4)])
        held_out = (groups.max(-1) > groups.min(-1)).mean()
        assert abs(share - held_out) < 0.03
        assert lo <= share <= hi
        assert hi > lo


@pytest.mark.parametrize(("family", "tolerance"), [(binary, 1e-12), (few_valued, 0.006)])
def test_the_limits_of_the_forecast_are_quantiles_of_the_draws(family, tolerance):
    _, _, draw = family("hard", 300, np.random.default_rng(3))
    model = judged(draw(16))
    (mean, lo, hi), (central, draws) = model.forecast(SIZES).T, model.mixed_shares(SIZES, 400)
    np.testing.assert_allclose(central, mean, atol=1e-12)
    np.testing.assert_allclose(np.quantile(draws, [0.05, 0.95], axis=0), [lo, hi], atol=tolerance)


@pytest.mark.parametrize("family", [binary, few_valued])
def test_of_one_completion_each_the_draws_go_out_to_what_the_counts_allow(family):
    _, _, draw = family("hard", 40, np.random.default_rng(3))
    model = judged(draw(1))
    (mean, lo, hi), (central, draws) = model.forecast(SIZES).T, model.mixed_shares(SIZES, 400)
    np.testing.assert_allclose(central, mean, atol=1e-12)
    assert (draws.min(0) <= lo + 0.02).all() and (draws.max(0) >= hi - 0.02).all()


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.5, 1.0)])
def test_the_forecast_of_few_prompts_is_theirs_and_its_limits_are_those_of_prompts_like_them(m, values):
    model = judged(np.tile(values, (m, 32)))
    mixed = 1 - len(values) * len(values) ** -8.0
    (share, lo, hi) = model.forecast((8,))[0]
    assert share == pytest.approx(model.mixed(8).mean())
    assert share == pytest.approx(mixed, abs=0.02)
    assert lo < share - 0.02 and share <= hi


def test_shares_of_graded_rewards_are_computed_once(monkeypatch):
    _, _, draw = few_valued("", 50, np.random.default_rng(0))
    model, calls = judged(draw(8)), []
    monkeypatch.setattr(graded, "state_shares", lambda *words, own=graded.state_shares: calls.append(1) or own(*words))
    assert model.shares.tolist() == model.shares.tolist()
    assert calls == [1]


def test_binary_judgments_survive_an_affine_map_and_any_order():
    rng = np.random.default_rng(0)
    _, _, draw = binary("hard", 300, rng)
    rewards = draw(12)
    base, order = judged(rewards), rng.permutation(300)
    shuffled = judged(rewards[order])
    np.testing.assert_allclose(base.loss[order], shuffled.loss, atol=1e-12)
    moved = judged(rewards * 4 - 1, Zones(ZONES.epsilon, -1.0, 3.0))
    np.testing.assert_allclose(base.loss, moved.loss, atol=1e-12)
    np.testing.assert_allclose(base.std_limits * 4, moved.std_limits, atol=1e-12)


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
    assert (found.std_limits[:, 1] > found.std_limits[:, 0]).all()
    assert (found.loss.min(-1) > 0).all()
    assert (found.shares[:, 2] > found.shares[:, 1]).all()
    assert (np.diff(found.forecast(SIZES)[:, 1:]) > 0).all()
    if m == 400 and n == 10:  # four thousand equal rewards: by then the set leans the right way
        assert set(found.states.argmax(-1)) == {2 if value == 1.0 else 0}


def test_ten_zeros_allow_a_std_of_0_46():
    assert judged(np.zeros((1, 10))).std_limits[0, 1] == pytest.approx(0.46, abs=0.005)


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
    assert found.family == "none"
    assert np.isnan(found.states).all()
    assert found.shares[:, 1:].tolist() == [[0.0, 1.0]] * 3


def test_one_sample_per_prompt_of_a_continuous_reward_is_unsure():
    found = judged(np.random.default_rng(0).random((60, 1)))
    assert found.family == "continuous"
    assert (np.diff(found.std_limits) >= 0.25).all()


def test_a_million_draws_of_one_prompt():
    found = judged(np.random.default_rng(0).integers(0, 2, (1, 100_000)).astype(float))
    assert found.states[0, 1] > 0.999


def test_each_prompts_own_achievable_reward_counts():
    """Half is all there is to earn for the second prompt: it is solved where the first is vanishing."""
    found = judged(np.full((2, 64), 0.5), r_star=np.array([1.0, 0.5]))
    assert found.states.argmax(-1).tolist() == [0, 2]


def test_few_near_normal_rewards_are_not_mixed_with_the_whole_set():
    """Three prompts of eight rewards at .2, .5 and .8, std .01: the best of eight gains 0.014, less than δ."""
    rng = np.random.default_rng(0)
    found = judged(np.array([[0.2], [0.5], [0.8]]) + 0.01 * rng.normal(size=(3, 8)))
    assert found.family == "continuous"
    assert found.states.argmax(-1).tolist() == [0, 0, 0]


def test_a_reward_nobody_has_earned_yet_is_possible():
    """A constant .1 and never the 1.0: with little data, more than .1 may still come."""
    small, large = judged(np.full((3, 4), 0.1)), judged(np.full((60, 64), 0.1))
    assert small.family == large.family == "few-valued"
    assert small.loss.min(-1).max() > 0.05
    assert large.states.argmax(-1).tolist() == [0] * 60


def counted(p, n, rng):
    hits = rng.binomial(n, p)
    return judged((np.arange(n) < hits[:, None]).astype(float), Zones(0.05))


def test_pass_at_k_is_the_chance_of_a_success_in_a_group():
    rng = np.random.default_rng(0)
    p = rng.choice([0.0, 0.02, 0.3, 0.9], 400)
    mean, variance = counted(p, 64, rng).pass_at(8)
    truth = 1 - binom.pmf(0, 8, p)
    assert mean.mean() == pytest.approx(truth.mean(), abs=0.02)
    inside = np.abs(mean - truth) < 3 * np.sqrt(variance) + 0.02
    assert inside.mean() > 0.97


def test_the_variance_of_pass_at_k_is_what_sampling_again_moves():
    rng = np.random.default_rng(0)
    p = np.repeat([0.02, 0.1, 0.3], 40)
    weights = np.full(120, 1 / 120)
    found = [counted(p, 16, rng).pass_at(8) for _ in range(40)]
    predicted = np.mean([np.sqrt((weights**2 * variance).sum()) for _, variance in found])
    moved = np.std([mean.mean() for mean, _ in found], ddof=1)
    assert 0.6 < predicted / moved < 2


def test_graded_rewards_pass_where_the_best_is_near():
    rng = np.random.default_rng(0)
    near, far = rng.normal(0.7, 0.2, (30, 32)).clip(0, 1), rng.normal(0.2, 0.02, (30, 32)).clip(0, 1)
    rewards = np.concatenate([near, far])
    mean, _ = judged(rewards).pass_at(8)
    assert mean[:30].min() > 0.7 and mean[30:].max() < 0.1
    easier, _ = judged(rewards, r_star=np.full(60, 0.22)).pass_at(8)
    assert easier.min() > 0.9  # 0.22 is all that can be had: the far ones are there


def test_with_noise_different_rewards_stay_different_and_equal_ones_equal():
    """Two clumps with noise never tie; a prompt that earns one odd value every time is flat all the same."""
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random((80, 8)) < 0.5, 0.9, 0.1) + 0.01 * rng.standard_normal((80, 8))
    flat = np.tile(rng.uniform(0.2, 0.8, (80, 1)), 8)
    model = judged(np.concatenate([noisy, flat]))
    assert model.family == "mixed"
    assert model.mixed(8)[:80].min() > 0.99 and model.mixed(8)[80:].max() < 0.3


@pytest.mark.parametrize("k", [2, 5, 16])
def test_the_gain_of_the_best_of_k_is_that_of_groups_drawn_at_random(k):
    """64 completions of each of three prompts of every family: what a fresh group's best is above the mean, by simulation."""
    rng = np.random.default_rng(0)
    p, shares, values = np.array([0.05, 0.5, 0.9]), np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]), np.array([0.0, 0.4, 1.0])
    draws = {
        "binary": lambda n: (rng.random((3, n)) < p[:, None]).astype(float),
        "few-valued": lambda n: np.stack([rng.choice(values, n, p=row) for row in shares]),
        "continuous": lambda n: np.array([[0.2], [0.5], [0.7]]) + np.array([[0.02], [0.1], [0.05]]) * rng.normal(size=(3, n)),
    }
    for family, draw in draws.items():
        model = judged(np.concatenate([draw(64) for _ in range(40)]), Zones(0.05))
        assert model.family == family
        groups = draw(k * 20_000).reshape(3, 20_000, k)
        truth = groups.max(-1).mean(-1) - groups.mean((1, 2))
        assert model.best_of(k).reshape(40, 3).mean(0) == pytest.approx(truth, rel=0.08, abs=0.005)


def test_the_gain_of_the_best_of_k_by_enumeration():
    """One value less than certain: with hundreds of completions the gain is (1 − (1 − q)^K − q) of the step."""
    rewards = np.repeat(np.r_[np.full(300, 0.2), np.full(100, 0.7)][None], 30, 0)
    gain = judged(np.concatenate([rewards, np.full((5, 400), 0.5)]), Zones(0.05)).best_of(4)[:30]
    assert gain == pytest.approx(0.5 * (1 - 0.75**4 - 0.25), abs=0.01)


@pytest.mark.parametrize("rewards", [np.tile([0.0, 1.0, 0.0], (20, 1)), np.tile([0.0, 0.5, 1.0, 0.5], (20, 1))], ids=["binary", "graded"])
def test_group_sizes_named_beforehand_and_asked_for_later_are_the_same(rewards):
    m, n = rewards.shape
    evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
    before, later = fit(evidence, np.ones(m), ZONES, (4, 6)), fit(evidence, np.ones(m), ZONES)
    for k in (6, 4):
        np.testing.assert_array_equal(before.mixed(k), later.mixed(k))
    np.testing.assert_array_equal(before.loss, later.loss)


@pytest.mark.parametrize(
    "rewards", [np.zeros((4, 3)), np.tile([0.0, 0.5, 1.0], (4, 1)), np.full((4, 3), np.nan)], ids=["binary", "graded", "none"]
)
def test_a_larger_set_has_nan_for_the_others_and_tells_the_same_of_the_set(rewards):
    part, rows = judged(rewards), np.array([True, False, True, True, False, True])
    whole = spread(part, rows)
    verdict = np.array([0, -1, 0, -1, -1, 0])
    for name in ("states", "loss", "std_limits"):
        np.testing.assert_array_equal(getattr(whole, name)[rows], getattr(part, name))
        assert np.isnan(getattr(whole, name)[~rows]).all()
    for ours, theirs in (
        (whole.mixed(8), part.mixed(8)),
        (whole.best_of(8), part.best_of(8)),
        (whole.pass_at(8)[0], part.pass_at(8)[0]),
        (whole.pass_at(8)[1], part.pass_at(8)[1]),
    ):
        np.testing.assert_array_equal(ours[rows], theirs)
        assert np.isnan(ours[~rows]).all()
    assert whole.n.tolist() == [part.n[0], 0, *part.n[1:3], 0, part.n[3]]
    np.testing.assert_array_equal(whole.shares, part.shares)
    np.testing.assert_array_equal(whole.forecast(SIZES), part.forecast(SIZES))
    np.testing.assert_array_equal(whole.mixed_shares(SIZES)[1], part.mixed_shares(SIZES)[1])
    np.testing.assert_equal(whole.worst_case_error(verdict), part.worst_case_error(verdict[rows]))
    assert (whole.family, whole.misfit) == (part.family, part.misfit)


@pytest.mark.parametrize("constant", [np.linspace(0, 1, 60), np.linspace(1, 0, 60)], ids=["rising", "falling"])
def test_constants_of_their_own_are_judged_by_what_they_are_in_any_order(constant):
    model = judged(np.repeat(constant[:, None], 16, axis=1), r_star=np.full(60, np.nan))
    assert model.states.argmax(-1).tolist() == [2 if value >= 1 - ZONES.epsilon else 0 for value in constant.tolist()]


def test_prompts_whose_achievable_reward_is_known_share_no_answer_with_others():
    rewards = np.tile([0.0, 0.25, 0.5, 0.25], (40, 4))
    known = np.where(np.arange(40) % 2, 1.0, np.nan)
    there, back = judged(rewards, r_star=known).pass_at(8)[0], judged(rewards, r_star=known[::-1]).pass_at(8)[0][::-1]
    assert there == pytest.approx(back, abs=0.02)
    assert abs(there[0] - there[1]) > 0.1


def test_of_two_verdicts_that_are_not_wrong_the_likelier_state_is_given():
    """A gain between its limit and twice that: learnable more likely than not, though vanishing would not count as wrong."""
    rng = np.random.default_rng(0)
    zones = Zones(ZONES.epsilon, 0.0, 11.0)
    model = judged(5.5 + 0.28 * rng.normal(size=(60, 256)), zones, r_star=np.full(60, np.nan))
    assert model.states[:, 1].min() > 0.95 and model.loss[:, 0].max() < 0.05
    assert set(give_verdicts(model, 0.03, worst_case=False).verdict) == {"learnable"}


def test_an_answer_that_earns_a_third_value_shows_that_a_reward_is_graded():
    zeros = np.zeros((40, 16))
    assert judged(zeros, r_star=np.full(40, 0.3)).family == "few-valued"
    assert judged(zeros, r_star=np.full(40, np.nan)).family == judged(zeros, r_star=np.ones(40)).family == "binary"
