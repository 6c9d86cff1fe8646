import numpy as np
import pytest
from scipy import stats

from flatspot.theory.enumerate import enumerate_policy, level_rows, token_probabilities
from flatspot.theory.halves import Interval, half_product, jackknife_variance, mean_interval, unseen_ceiling


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


def scores_of(logits, length):
    """[completion, parameter] of a tabular policy."""
    n, p = logits.shape[1], token_probabilities(logits)
    scores = np.zeros((n**length, *logits.shape))
    for y in range(n**length):
        digits = [(y // n ** (length - 1 - i)) % n for i in range(length)]
        at = 0
        for level, token in enumerate(digits):
            row = level_rows(level, n).start + at
            scores[y, row] += np.eye(n)[token] - p[row]
            at = at * n + token
    return scores.reshape(n**length, -1)


def estimates(rewards, scores, groups):
    """What `estimate_gradient` computes, for many groups at once."""
    products = []
    for group in groups:
        r, s = rewards[group], scores[group]
        a, b = slice(0, None, 2), slice(1, None, 2)
        sums = [(r[h] - r[h].mean()) @ s[h] / (len(r[h]) - 1) for h in (a, b)]
        product = half_product(r[a], s[a] @ sums[1], r[b], s[b] @ sums[0])
        if min(np.ptp(r[a]), np.ptp(r[b])) == 0:
            most = unseen_ceiling(r, (0.0, 1.0)) ** 2 * mean_interval((s**2).sum(1)).hi
            product = Interval(product.mean, min(0.0, product.lo), max(product.hi, most))
        products.append(product)
    return np.array(products)


@pytest.mark.parametrize("share", [1, 3, 9])
@pytest.mark.parametrize("n", [16, 32])
def test_the_square_is_unbiased_and_its_interval_holds_nine_times_in_ten(share, n):
    """Sparse, middling and common successes of an enumerable policy; the interval claims 95%."""
    rng = np.random.default_rng(share)
    logits = rng.normal(size=(13, 3)) * 0.7
    rewards = np.zeros(27)
    rewards[rng.permutation(27)[:share]] = 1.0
    exact, scores = enumerate_policy(logits, rewards), scores_of(logits, 3)
    assert (exact.probability * rewards) @ scores == pytest.approx(exact.gradient, abs=1e-12)
    intervals = estimates(rewards, scores, rng.choice(27, size=(800, n), p=exact.probability))
    error = intervals[:, 0].std(ddof=1) / np.sqrt(len(intervals))
    assert abs(intervals[:, 0].mean() - exact.norm**2) <= 3 * error
    assert ((intervals[:, 1] <= exact.norm**2) & (exact.norm**2 <= intervals[:, 2])).mean() >= 0.9


@pytest.mark.parametrize("n", [8, 16, 64])
def test_equal_rewards_prove_little(n):
    q = 1 - 0.025 ** (1 / n)
    assert unseen_ceiling(np.zeros(n), (0.0, 1.0)) == pytest.approx(np.sqrt(q * (1 - q)) if q < 0.5 else 0.5)
    assert unseen_ceiling(np.zeros(n), (-1.0, 1.0)) == pytest.approx(2 * unseen_ceiling(np.ones(n), (0.0, 1.0)))


def test_two_equal_rewards_prove_nothing():
    assert unseen_ceiling(np.zeros(2), (0.0, 1.0)) == 0.5
    assert unseen_ceiling(np.arange(4.0) / 3, (0.0, 1.0)) == 0.5
