import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from flatspot.stats.gradients import std_against_norm, tightness


def test_the_correlations_and_the_slope_are_those_of_scipy():
    rng = np.random.default_rng(0)
    std = rng.uniform(0, 0.5, 30).round(1)  # with ties and zeros
    norm_sq = (2 * std) ** 2 + rng.normal(0, 0.1, 30)
    found, above = std_against_norm(std, norm_sq), (std > 0) & (norm_sq > 0)
    line = linregress(np.log(std[above]), np.log(np.sqrt(norm_sq[above])))
    assert 3 < above.sum() < 30
    assert found.n_positive == above.sum()
    assert found.rank_correlation == pytest.approx(spearmanr(std, norm_sq).statistic)
    assert (found.correlation, found.slope) == pytest.approx((line.rvalue, line.slope))


@pytest.mark.parametrize(
    ("std", "norm_sq"), [([], []), ([0.1, 0.2], [0.1, 0.2]), ([0.1] * 4, [1, 2, 3, 4]), ([0.0] * 4, [0.0] * 4), ([np.nan] * 4, [1.0] * 4)]
)
def test_too_few_prompts_that_differ_say_nothing(std, norm_sq):
    found = std_against_norm(np.array(std, float), np.array(norm_sq, float))
    assert np.isnan([found.rank_correlation, found.correlation, found.slope]).all()


def test_negative_squares_count_in_the_rank_and_not_in_the_logarithms():
    found = std_against_norm(np.array([0.1, 0.2, 0.3, 0.4]), np.array([-1.0, -0.5, 0.5, 1.0]))
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.n_positive == 2
    assert np.isnan(found.slope)


def test_tightness_leaves_out_norms_that_are_not_above_zero():
    bound = np.array([2.0, 9.0, np.nan, 8.0])
    assert tightness(np.array([1.0, 0.0, 1.0, 2.0]), {"a": bound, "b": bound * 2}) == {"a": 3.0, "b": 6.0}
    assert np.isnan(tightness(np.zeros(2), {"a": np.ones(2)})["a"])
