import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatspot import theory
from flatspot.core.errors import SettingsError

POSITIVE = st.floats(1e-9, 1e6)


@given(std=st.floats(0, 10), length=st.integers(1, 1000), gamma=POSITIVE)
def test_the_formulas(std, length, gamma):
    assert theory.theorem_1(std, length=length, gamma=gamma) == pytest.approx(6 * length * gamma * std ** (2 / 3), rel=1e-12)
    assert theory.lipschitz_bound(std, length=length, gamma=gamma) == pytest.approx(length**0.5 * gamma * std, rel=1e-12)
    assert theory.median_bound(std, length=length, gamma=gamma) == pytest.approx(2**0.5 * length * gamma * std, rel=1e-12)
    assert theory.score_bound(std, score_second_moment=gamma) == pytest.approx(std * gamma**0.5, rel=1e-12)
    assert theory.collision_bound(std, gamma=gamma, collision=length) == pytest.approx(gamma * std * length**0.5, rel=1e-12)


@given(std=st.floats(0, 1), length=st.integers(1, 1000), gamma=POSITIVE)
def test_the_lipschitz_bound_is_six_times_below_theorem_1(std, length, gamma):
    assert 6 * theory.lipschitz_bound(std, length=length, gamma=gamma) <= theory.theorem_1(std, length=length, gamma=gamma) * (1 + 1e-12)


@given(std=st.floats(0, 1), scale=st.floats(0.01, 100))
def test_the_kl_form_is_theorem_1_of_rewards_scaled_into_its_range(std, scale):
    whole = theory.theorem_1_kl(std * scale, length=3, gamma=2.0, reward_bound=scale)
    assert whole == pytest.approx(scale * theory.theorem_1(std, length=3, gamma=2.0), rel=1e-9, abs=1e-15)
    assert theory.theorem_1_kl(std, length=3, gamma=2.0, reward_bound=1) == theory.theorem_1(std, length=3, gamma=2.0)


def test_arrays_broadcast_and_numbers_stay_numbers():
    bounds = theory.lipschitz_bound([0.0, 0.5], length=[[1], [4]], gamma=1.0)
    assert bounds.tolist() == [[0.0, 0.5], [0.0, 1.0]]
    assert type(theory.lipschitz_bound(np.float64(0.5), length=4, gamma=1)) is float
    assert theory.theorem_1(np.zeros(0), length=4, gamma=1).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.theorem_1(-0.1, length=1, gamma=1), "std must be finite and not negative, got -0.1"),
        (lambda: theory.theorem_1([0.1, float("nan")], length=1, gamma=1), r"std is not known \(NaN\) for 1 of 2"),
        (lambda: theory.lipschitz_bound(0.1, length=0, gamma=1), "length must be at least 1"),
        (lambda: theory.lipschitz_bound(0.1, length=1, gamma=float("inf")), "gamma must be finite"),
        (lambda: theory.score_bound(0.1, score_second_moment=-1), "score_second_moment"),
        (lambda: theory.collision_bound(0.1, gamma=1, collision=-1), "collision"),
        (lambda: theory.median_bound("much", length=1, gamma=1), "mad must be a number"),
    ],
)
def test_what_is_not_a_size_is_refused(call, message):
    with pytest.raises(SettingsError, match=message):
        call()


def test_flatspot_theory_is_reached_without_torch():
    code = """
import sys, flatspot
assert "numpy" not in sys.modules
assert flatspot.theory.theorem_1(0.0, length=1, gamma=1) == 0
assert flatspot.theory.enumerate_policy([[0, 0]], [0, 1]).value == 0.5
assert not {"torch", "scipy", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_the_namespace_resolves():
    assert dir(theory) == theory.__all__
    modules = {path.stem for path in Path(theory.__file__).parent.glob("*.py")}
    assert not modules & set(theory.__all__)  # importing a module would put it in the place of a name it shares
    assert all(callable(getattr(theory, name)) or name == "OBJECTIVES" for name in theory.__all__)
    with pytest.raises(AttributeError, match="it offers"):
        _ = theory.theorem_2
