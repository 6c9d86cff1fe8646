import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import enumerate_policy
from flatspot.theory.separation import descend, start_logits, time_to_half, times_to_half, velocity

# paper.md 1.5 of the specification: our own earlier run, by another program
TABLE = {1e-1: (5.54, 2.57), 1e-2: (45.1, 4.66), 1e-3: (422, 6.59), 1e-4: (4179, 8.51), 1e-5: (41730, 10.43)}


@pytest.mark.parametrize("p0", TABLE)
def test_the_table(p0):
    times = times_to_half(p0)
    assert (times.rl, times.sft) == pytest.approx(TABLE[p0], rel=2e-3)
    assert times.rl_bounds[0] <= times.rl <= times.rl_bounds[1]
    assert times.sft_bounds[0] <= times.sft <= times.sft_bounds[1]
    assert times.rl >= 1 / (2 * times.std0**2) - 0.5
    assert times.sft <= 8 * np.log(np.sqrt(2) / times.std0)


@pytest.mark.parametrize("method", ["rl", "sft"])
def test_two_labels_have_a_closed_form(method):
    """With one wrong label, q = 1 − p: d ln p/dt = 2(1 − p)², times 2p under RL. T is the integral of dp over dp/dt."""
    p0 = 0.01
    speed = (lambda p: 4 * p * p * (1 - p) ** 2) if method == "rl" else (lambda p: 2 * p * (1 - p) ** 2)
    exact, _ = quad(lambda p: 1 / speed(p), p0, 0.5)
    z = start_logits(p0, n_labels=2, n_likely=1)
    assert time_to_half(z, method) == pytest.approx(exact, rel=1e-6)


def test_another_solver_agrees():
    z = start_logits(1e-3, n_labels=10, n_likely=5)

    def half(_, now):
        return now[0] - np.log(np.exp(now).sum()) - np.log(0.5)

    half.terminal = True
    other = solve_ivp(lambda _, now: velocity(now, "rl"), (0, 1e4), z, method="DOP853", events=half, rtol=1e-10, atol=1e-12)
    assert time_to_half(z, "rl") == pytest.approx(other.t_events[0][0], rel=1e-6)


def test_the_velocity_is_the_gradient():
    z = np.random.default_rng(0).normal(size=6)
    assert velocity(z, "rl") == pytest.approx(enumerate_policy(z[None], [1, -1, -1, -1, -1, -1]).gradient, abs=1e-14)
    p = np.exp(z) / np.exp(z).sum()
    assert velocity(z, "sft") == pytest.approx(np.eye(6)[0] - p, abs=1e-14)


@pytest.mark.parametrize("method", ["rl", "sft"])
def test_gradient_descent_tends_to_the_ode(method):
    exact = getattr(times_to_half(0.01), method)
    errors = [abs(descend(0.01, method, rate=rate) - exact) for rate in (0.1, 0.01)]
    assert errors[1] < 0.02 + 0.002 * exact
    assert errors[1] < errors[0]


def test_orthonormal_inputs_do_not_touch_each_other():
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 3)))
    assert descend(0.05, "rl", rate=0.05, inputs=turned.T) == descend(0.05, "rl", rate=0.05)


def test_the_separation_is_exponential():
    rows = [times_to_half(p0) for p0 in (1e-3, 1e-4, 1e-5)]
    x = np.log([row.std0 for row in rows])
    assert np.polyfit(x, np.log([row.rl for row in rows]), 1)[0] == pytest.approx(-2, abs=0.01)
    steps = np.diff([row.sft for row in rows])
    assert steps == pytest.approx(np.full(2, steps[0]), rel=0.01)  # one more factor of ten costs SFT the same again


def test_a_learned_answer_takes_no_time():
    assert time_to_half(np.array([1.0, 0.0]), "rl") == 0.0


@pytest.mark.parametrize(
    "call",
    [lambda: times_to_half(0.5), lambda: times_to_half(0.0), lambda: times_to_half(0.1, n_labels=3, n_likely=3),
     lambda: descend(0.1, "rl", rate=0), lambda: descend(0.1, "rl", rate=1, inputs=np.ones((2, 2)))],
)  # fmt: skip
def test_starts_that_are_none_are_refused(call):
    with pytest.raises(SettingsError):
        call()
