"""What an RL run would see, against exact sums and simulated samplers."""

import numpy as np
import pytest
from scipy import stats

from flatspot.core.errors import SettingsError
from flatspot.stats.forecast import _short, fill_batch, forecast_of, recommend_group_size
from flatspot.stats.models.fitted import fit
from flatspot.stats.triage.draws import Draws
from flatspot.stats.triage.loop import triage
from flatspot.stats.zones import Zones

pytestmark = pytest.mark.thorough

SIZES = (4, 8, 16, 32)
UNIT = Zones(0.05)
NOTHING = fit(Draws.none(3).evidence(), np.ones(3), UNIT)


def drawn(p, seed, m):
    rng = np.random.default_rng(seed)
    return triage(lambda i, k: (rng.random((len(i), k)) < p[i, None]).astype(float), m)


def test_the_forecast_is_near_held_out_groups_and_its_limits_cover():
    distance, inside = [], []
    many = np.random.default_rng(99).beta(0.4, 1, 400_000)
    truth = np.array([(1 - many**k - (1 - many) ** k).mean() for k in SIZES])
    for seed in range(12):
        p = np.random.default_rng(seed).beta(0.4, 1, 600)
        found = drawn(p, seed, 600).forecast(SIZES).informative
        distance.append(np.abs(found[:, 0] - [(1 - p**k - (1 - p) ** k).mean() for k in SIZES]))
        inside.append((found[:, 1] <= truth) & (truth <= found[:, 2]))
    assert np.mean(distance, 0).max() <= 0.03
    assert np.mean(inside) >= 0.85 - 3 * np.sqrt(0.9 * 0.1 / 12)


def test_one_group_size_or_several():
    t = drawn(np.full(50, 0.5), 0, 50)
    assert t.forecast(8).group_sizes == (8,)
    np.testing.assert_allclose(t.forecast(8).informative[0], t.forecast((4, 8)).informative[1], atol=1e-12)


def test_running_out_of_batches_is_a_binomial_tail():
    assert _short(10, 60, np.array([0.2]))[0] == pytest.approx(stats.binom.cdf(9, 60, 0.2))
    assert _short(61, 60, np.array([1.0]))[0] == 1


def test_filling_a_batch_takes_as_long_as_in_simulation():
    p = np.random.default_rng(0).beta(0.4, 1, 2000)
    plan = fill_batch(drawn(p, 0, 2000).fitted, 8, 64)
    rng, groups = np.random.default_rng(1), []
    for _ in range(300):
        share = p[rng.integers(0, 2000, 1000)]
        mixed = np.cumsum(rng.random(1000) < 1 - share**8 - (1 - share) ** 8)
        groups.append(int((mixed < 64).sum()) + 1)
    assert np.mean(groups) == pytest.approx(plan.groups[0], rel=0.06)
    assert plan.rollouts[0] == pytest.approx(8 * plan.groups[0])
    assert plan.groups[1] <= plan.groups[0] <= plan.groups[2]


def test_the_recommended_size_is_the_smallest_that_reaches_the_share():
    model = drawn(np.random.default_rng(0).beta(0.4, 1, 500), 0, 500).fitted
    plan = recommend_group_size(model, 0.5, tokens_per_completion=200)
    assert plan.reached
    assert plan.informative[0] >= 0.5 > forecast_of(model, (plan.group_size // 2,)).informative[0, 0]
    assert plan.tokens == 200 * plan.completions == 200 * 500 * plan.group_size
    assert not recommend_group_size(model, 0.999).reached


def test_flat_prompts_are_never_sure_to_stay_flat():
    found = drawn(np.zeros(100), 0, 100).forecast(8).informative[0]
    assert found[0] < 0.05
    assert found[2] > found[1]


def test_nothing_drawn_is_unknown():
    central, _ = NOTHING.mixed_shares(SIZES)
    assert np.isnan(central).all()


@pytest.mark.parametrize(
    "call",
    [lambda m: forecast_of(m, (1,)), lambda m: recommend_group_size(m, 1.0), lambda m: fill_batch(m, 8, 0), lambda m: fill_batch(m, 1, 4)],
)
def test_bad_questions(call):
    with pytest.raises(SettingsError):
        call(NOTHING)
