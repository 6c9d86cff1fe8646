"""Settings speak before anything is loaded or drawn."""

import math
import subprocess
import sys

import numpy as np
import pytest

from flatspot.core.errors import SettingsError
from flatspot.core.settings import Settings


@pytest.mark.parametrize("gib", [0, -1, math.nan, math.inf])
def test_a_bound_on_memory_that_bounds_nothing_is_refused(gib):
    with pytest.raises(SettingsError, match="--memory-gib must be a finite number above 0"):
        Settings(memory_gib=gib)
    assert Settings(memory_gib=0.5).memory_gib == 0.5


def test_more_samples_than_can_be_weighed_are_drawn_only_as_a_fixed_number():
    with pytest.raises(SettingsError, match="at most 2048 where every next completion is weighed"):
        Settings(max_completions=2049)
    assert Settings(max_completions=2049, fixed_completions=True).max_completions == 2049


@pytest.mark.parametrize("limits", [(-1e308, 0), (0, math.inf), (math.nan, 1)])
def test_a_reward_range_that_no_reward_can_fill_is_refused(limits):
    with pytest.raises(SettingsError, match="--reward-range must lie within"):
        Settings(reward_range=limits)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_completions": "64"},
        {"max_completions": 3.5},
        {"seed": 1.5},
        {"temperature": "1"},
        {"worst_case": 1},
        {"fixed_completions": "no"},
        {"limit": 0},
        {"limit": -1},
        {"reward_weights": (1.0, math.nan)},
        {"reward_timeout_s": 0.0},
        {"reward_timeout_s": math.nan},
        {"max_completions": True},
        {"temperature": -1.0},
        {"top_p": math.nan},
        {"reward_range": ("0", "1")},
        {"reward_range": (0.0,)},
        {"reward_range": 1.0},
        {"reward_weights": ("1", "2")},
        {"reward_weights": 2.0},
        {"reward_weights": (10**400,)},
        {"reward_range": (0, 10**400)},
        {"temperature": 10**400},
        {"engine": None},
        {"prompt_col": 3},
        {"out": 3},
    ],
)
def test_settings_that_would_only_fail_later_fail_now(wrong):
    with pytest.raises(SettingsError):
        Settings(**wrong)


def test_numbers_of_numpy_are_numbers():
    assert Settings(max_completions=np.int64(8), temperature=np.float32(0.5), target_error=1 / 16).max_completions == 8
    given = Settings(reward_weights=np.array([1.0, 0.5]), reward_range=[0, 1.5])
    assert (given.reward_weights, given.reward_range) == ((1.0, 0.5), (0, 1.5))


def test_checks_hold_without_assertions():
    """python -O drops every assert."""
    code = "from flatspot.core.settings import Settings\ntry: Settings(temperature=-1.0)\nexcept Exception as e: print(type(e).__name__)"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SettingsError"
