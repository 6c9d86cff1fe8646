import numpy as np
import pytest
from scipy import stats

from flatspot.theory.halves import half_product, jackknife_variance, mean_interval


def test_the_mean_interval_is_students():
    values = np.array([1.0, 4.0, 2.0, 5.0, 3.0])
    expected = stats.t.interval(0.95, 4, loc=3.0, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((3.0, *expected))
    assert mean_interval(np.array([2.0]))[0] == 2.0
    assert np.isnan(mean_interval(np.array([2.0]))[1:]).all()


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_jackknife_against_leaving_out_one_by_one(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n))
    if n == 2:
        assert jackknife_variance(x, y) == pytest.approx(np.cov(x, y)[0, 1] ** 2)
        return
    left = [np.cov(np.delete(x, i), np.delete(y, i))[0, 1] for i in range(n)]
    assert jackknife_variance(x, y) == pytest.approx((n - 1) / n * ((left - np.mean(left)) ** 2).sum())


def test_the_product_is_that_of_the_two_halves_sums():
    rng = np.random.default_rng(0)
    rewards, scores = rng.normal(size=12), rng.normal(size=(12, 5))
    a, b = (rewards[h] - rewards[h].mean() for h in (slice(0, None, 2), slice(1, None, 2)))
    first, second = a @ scores[::2] / 5, b @ scores[1::2] / 5
    product = half_product(rewards[::2], scores[::2] @ second, rewards[1::2], scores[1::2] @ first)
    assert product.mean == pytest.approx(first @ second)
    assert product.lo < product.mean < product.hi
