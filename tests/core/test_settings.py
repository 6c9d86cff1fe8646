"""Settings speak before anything is loaded or drawn."""

import math

import pytest

from flatspot.core.errors import SettingsError
from flatspot.core.settings import Settings


@pytest.mark.parametrize("gib", [0, -1, math.nan, math.inf])
def test_a_bound_on_memory_that_bounds_nothing_is_refused(gib):
    with pytest.raises(SettingsError, match="--memory-gib must be a finite number above 0"):
        Settings(memory_gib=gib)
    assert Settings(memory_gib=0.5).memory_gib == 0.5


def test_more_samples_than_can_be_weighed_are_drawn_only_as_a_fixed_number():
    with pytest.raises(SettingsError, match="at most 2048 where every next sample is weighed"):
        Settings(max_samples=2049)
    assert Settings(max_samples=2049, fixed_samples=True).max_samples == 2049


@pytest.mark.parametrize("limits", [(-1e308, 0), (0, math.inf), (math.nan, 1)])
def test_a_reward_range_that_no_reward_can_fill_is_refused(limits):
    with pytest.raises(SettingsError, match="--reward-range must lie within"):
        Settings(reward_range=limits)
