import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatspot.stats.evidence import distinct, evidence_of_counts, evidence_of_rows, merge_equal, reward_std

rewards = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.5, 1.0, -2.0, float("nan")])), max_size=60)


@settings(max_examples=200, deadline=None)
@given(rewards)
def test_evidence_agrees_with_one_prompt_at_a_time(rows):
    prompt = np.array([p for p, _ in rows], np.int64)
    reward = np.array([r for _, r in rows], float)
    found = evidence_of_rows(prompt, reward, 6)
    for x in range(6):
        own = reward[(prompt == x) & np.isfinite(reward)]
        assert found.n[x] == len(own)
        if len(own) == 0:
            assert np.isnan([found.mean[x], found.low[x], found.high[x], found.mode[x], found.std[x]]).all()
            continue
        assert found.mean[x] == pytest.approx(own.mean())
        assert (found.low[x], found.high[x]) == (own.min(), own.max())
        values, counts = np.unique(own, return_counts=True)
        assert found.mode[x] == values[counts.argmax()]
        assert found.n_mode[x] == counts.max()
        assert np.isnan(found.std[x]) if len(own) < 2 else found.std[x] == pytest.approx(own.std(ddof=1), abs=1e-12)
        assert found.counts is None or found.counts[x].tolist() == [int((own == v).sum()) for v in found.support]


def test_rows_and_counts_agree_in_any_order():
    rng = np.random.default_rng(0)
    prompt, reward = rng.integers(0, 5, 300), rng.choice([0.0, 0.25, 1.0], 300)
    by_rows = evidence_of_rows(prompt, reward, 5)
    pairs, counts = np.unique(np.c_[prompt, reward], axis=0, return_counts=True)
    shuffle = rng.permutation(len(pairs))
    by_counts = evidence_of_counts(pairs[shuffle, 0].astype(int), pairs[shuffle, 1], counts[shuffle], 5)
    for name in ("n", "mean", "std", "low", "high", "mode", "n_mode", "support", "counts"):
        np.testing.assert_allclose(getattr(by_rows, name), getattr(by_counts, name), rtol=1e-12)


def test_float32_noise_on_equal_rewards_is_a_std_of_exactly_zero():
    noisy = np.array([0.7, np.float32(0.7), 0.7 + 1e-9, 0.7])
    assert np.std(noisy) > 0
    assert evidence_of_rows(np.zeros(4, int), noisy, 1).std[0] == 0
    assert reward_std(noisy) == 0


def test_small_but_real_differences_are_kept():
    assert reward_std(np.array([0.001, 0.002])) > 0
    assert len(np.unique(merge_equal(np.array([0.001, 0.002, 1.0])))) == 3


def test_more_than_32_values_have_no_support():
    found = evidence_of_rows(np.zeros(33, int), np.linspace(0, 1, 33), 1)
    assert found.support is None
    assert found.counts is None


def test_no_rows_at_all():
    found = evidence_of_rows(np.zeros(0, int), np.zeros(0), 3)
    assert found.n.tolist() == [0, 0, 0]
    assert np.isnan(found.std).all()


def test_values_that_hardly_repeat_are_continuous_however_few():
    few = np.random.default_rng(0).normal(0.5, 0.02, 24)
    assert evidence_of_rows(np.repeat(np.arange(3), 8), few, 3).support is None
    assert evidence_of_rows(np.repeat(np.arange(3), 8), few.round(1), 3).support is not None


def test_a_dense_continuous_reward_is_not_merged_into_one_value():
    """A million close neighbors chain; each is still its own value, and mean and std are numpy's."""
    rewards = np.random.default_rng(0).normal(0.9, 0.003, (20_000, 16))
    found = evidence_of_rows(np.repeat(np.arange(20_000), 16), rewards.ravel(), 20_000)
    np.testing.assert_allclose(found.mean, rewards.mean(-1), rtol=2e-6)
    np.testing.assert_allclose(found.std, rewards.std(-1, ddof=1), rtol=0.01)


@pytest.mark.parametrize("m", [0, 1, 7, 2000])
def test_the_distinct_rows_are_those_that_numpy_finds(m):
    rng = np.random.default_rng(m)
    columns = rng.integers(0, 9, m), rng.choice([0.25, -1.0, 3.0], m), rng.integers(-2, 2, m), np.full(m, 5)
    rows, place, size = np.unique(np.stack(columns, -1), axis=0, return_inverse=True, return_counts=True)
    kinds, at, counts = distinct(*columns)
    np.testing.assert_array_equal(np.stack(kinds, -1), rows)
    np.testing.assert_array_equal(at, place.reshape(-1))
    np.testing.assert_array_equal(counts, size)
    assert [column.dtype for column in kinds] == [column.dtype for column in columns]


def test_a_kind_for_every_prompt():
    many = np.random.default_rng(0).permutation(100_000) / 7
    (first, same), at, counts = distinct(many, many[::-1])
    np.testing.assert_array_equal(first[at], many)
    np.testing.assert_array_equal(same[at], many[::-1])
    assert (counts == 1).all()
