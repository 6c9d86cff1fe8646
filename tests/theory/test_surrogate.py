import itertools

import numpy as np
import pytest
from enumerated_by_hand import prefixes_of

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import enumerate_policy
from flatspot.theory.surrogate import clipped_surrogate


def torch_surrogate(logits, old, rewards, clip):
    """The surrogate written as a trainer would, over all completions, differentiated by torch."""
    torch = pytest.importorskip("torch")
    n, length = logits.shape[1], round(np.log(len(rewards)) / np.log(logits.shape[1]))
    row = {prefix: i for i, prefix in enumerate(prefixes_of(n, length))}
    z = torch.tensor(logits, requires_grad=True)
    log_p, old_p = torch.log_softmax(z, -1), torch.softmax(torch.tensor(old), -1)
    completions = list(itertools.product(range(n), repeat=length))
    chance = {y: float(np.prod([old_p[row[y[:i]], y[i]] for i in range(length)])) for y in completions}

    def expected(prefix):
        inside = [(chance[y], r) for y, r in zip(completions, rewards, strict=True) if y[: len(prefix)] == prefix]
        return sum(c * r for c, r in inside) / sum(c for c, _ in inside)

    total = torch.zeros((), dtype=torch.float64)
    for y in completions:
        for i in range(length):
            ratio = torch.exp(log_p[row[y[:i]], y[i]]) / old_p[row[y[:i]], y[i]]
            advantage = expected(y[: i + 1]) - expected(y[:i])
            total = total + chance[y] * torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    total.backward()
    return float(total.detach()), z.grad.numpy().reshape(-1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("distance", [0.05, 0.5, 2.0])
def test_against_torch_over_all_completions(seed, distance):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 3))
    old = logits + distance * rng.normal(size=(4, 3))
    rewards = rng.uniform(-1, 1, 9)
    value, gradient = torch_surrogate(logits, old, rewards, 0.2)
    surrogate = clipped_surrogate(logits, old, rewards)
    assert surrogate.value == pytest.approx(value, abs=1e-12)
    assert surrogate.gradient == pytest.approx(gradient, abs=1e-12)
    assert surrogate.norm <= surrogate.bound


def test_at_the_old_policy_it_is_the_gradient_of_the_expected_reward():
    rng = np.random.default_rng(0)
    logits, rewards = rng.normal(size=(13, 3)), rng.uniform(-1, 1, 27)
    exact, surrogate = enumerate_policy(logits, rewards), clipped_surrogate(logits, logits, rewards)
    assert surrogate.gradient == pytest.approx(exact.gradient, abs=1e-14)
    assert surrogate.value == pytest.approx(0, abs=1e-14)
    assert surrogate.std_old == pytest.approx(exact.std, rel=1e-12)  # Σ E[A²] = Var(r)
    assert surrogate.largest_ratio == 1.0


def test_clipping_does_not_bound_the_ratio_of_a_bad_token():
    """The new policy has moved towards the worse token: its ratio is far above 1 + ε, and carries a gradient."""
    surrogate = clipped_surrogate([[3.0, 0.0]], [[-3.0, 0.0]], [0.0, 1.0], clip_range=0.2)
    assert surrogate.largest_ratio > 10
    assert 0 < surrogate.norm <= surrogate.bound


def test_equal_rewards_give_nothing():
    surrogate = clipped_surrogate([[1.0, 0.0]], [[0.0, 0.0]], [0.7, 0.7])
    assert (surrogate.value, surrogate.norm, surrogate.bound, surrogate.std_old) == (0.0, 0.0, 0.0, 0.0)


def test_wrong_shapes_and_ranges_are_refused():
    with pytest.raises(SettingsError, match="clip_range"):
        clipped_surrogate([[0.0, 0.0]], [[0.0, 0.0]], [0, 1], clip_range=-0.1)
    with pytest.raises(SettingsError, match="rewards"):
        clipped_surrogate([[0.0, 0.0]], [[0.0, 0.0, 0.0]], [0, 1])
