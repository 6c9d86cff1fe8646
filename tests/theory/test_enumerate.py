import numpy as np
import pytest
from enumerated_by_hand import by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import enumerate_policy, one_token_gradient, recurrent_policy, recurrent_size
from flatspot_paper.theory.random_policies import random_models
from flatspot_paper.theory.run import bounds_of

SHAPES = [(2, 1), (2, 3), (3, 2), (4, 1), (3, 3)]


def rows_for(n_tokens, length):
    return sum(n_tokens**size for size in range(length))


@pytest.mark.parametrize(("n_tokens", "length"), SHAPES)
def test_a_tabular_policy_against_every_completion_written_out(n_tokens, length):
    rng = np.random.default_rng(n_tokens * 10 + length)
    logits = rng.normal(size=(rows_for(n_tokens, length), n_tokens)) * 2
    rewards = rng.uniform(-1, 1, n_tokens**length)
    compare(enumerate_policy(logits, rewards), by_hand(logits.tolist(), rewards.tolist()))


@pytest.mark.parametrize(("n_tokens", "length"), SHAPES)
def test_shared_parameters_against_every_completion_written_out(n_tokens, length):
    rng = np.random.default_rng(n_tokens * 10 + length)
    theta = rng.normal(size=recurrent_size(n_tokens, 3))
    logits, jacobian = recurrent_policy(theta, n_tokens=n_tokens, length=length, width=3)
    rewards = rng.uniform(-1, 1, n_tokens**length)
    compare(enumerate_policy(logits, rewards, jacobian=jacobian), by_hand(logits.tolist(), rewards.tolist(), jacobian.tolist()))


def compare(result, hand):
    assert result.value == pytest.approx(hand["value"], abs=1e-13)
    assert result.gradient == pytest.approx(np.array(hand["gradient"]), abs=1e-13)
    assert result.std == pytest.approx(hand["std"], rel=1e-12)
    assert result.mad == pytest.approx(hand["mad"], rel=1e-12)
    assert result.score_second_moment == pytest.approx(hand["second"], rel=1e-12)
    assert result.collision == pytest.approx(hand["collision"], rel=1e-12)
    assert result.probability.sum() == pytest.approx(1)


def test_the_gradient_of_shared_parameters_by_finite_differences():
    rng = np.random.default_rng(0)
    theta = rng.normal(size=recurrent_size(3, 3))
    rewards = rng.uniform(-1, 1, 27)

    def value(at):
        return enumerate_policy(recurrent_policy(at, n_tokens=3, length=3, width=3)[0], rewards).value

    logits, jacobian = recurrent_policy(theta, n_tokens=3, length=3, width=3)
    exact = enumerate_policy(logits, rewards, jacobian=jacobian).gradient
    steps = np.eye(len(theta)) * 1e-6
    differences = [(value(theta + step) - value(theta - step)) / 2e-6 for step in steps]
    assert exact == pytest.approx(np.array(differences), abs=1e-8)
    assert np.abs(exact).max() > 1e-3


def test_shared_parameters_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    v, width, length = 3, 4, 2
    theta = torch.tensor(rng.normal(size=recurrent_size(v, width)), requires_grad=True)
    sizes = [width * width, width * v, width, v * width, v]
    w, e, b, u, c = torch.split(theta, sizes)
    w, e, u = w.view(width, width), e.view(width, v), u.view(v, width)
    first = torch.tanh(b)
    states = [first, *(torch.tanh(w @ first + e[:, token] + b) for token in range(v))]
    out = torch.stack([u @ h + c for h in states])
    logits, jacobian = recurrent_policy(theta.detach().numpy(), n_tokens=v, length=length, width=width)
    assert logits == pytest.approx(out.detach().numpy(), abs=1e-13)
    for prefix in range(len(out)):
        for token in range(v):
            (row,) = torch.autograd.grad(out[prefix, token], theta, retain_graph=True)
            assert jacobian[prefix, token] == pytest.approx(row.numpy(), abs=1e-13)
    gamma = max(np.linalg.svd(j, compute_uv=False)[0] for j in jacobian)
    assert enumerate_policy(logits, np.arange(9.0), jacobian=jacobian).gamma == pytest.approx(gamma)


@given(z=arrays(float, 4, elements=st.floats(-30, 30)), label=st.integers(0, 3), high=st.floats(-1, 1), low=st.floats(-1, 1))
def test_one_token_rl_is_p_times_sft(z, label, high, low):
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    rewards = np.where(np.arange(4) == label, high, low)
    exact = enumerate_policy(z[None], rewards)
    closed = one_token_gradient(z, label, high=high, low=low)
    assert exact.gradient == pytest.approx(closed, abs=1e-14)
    assert exact.gradient == pytest.approx((high - low) * p[label] * (np.eye(4)[label] - p), abs=1e-14)
    assert exact.std == pytest.approx(abs(high - low) * np.sqrt(p[label] * np.delete(p, label).sum()), rel=1e-9, abs=1e-15)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_bound_is_violated_and_they_are_ordered(seed):
    for policy in random_models(10, np.random.default_rng(seed)):
        exact = enumerate_policy(policy.logits, policy.rewards, jacobian=policy.jacobian)
        bound = bounds_of(exact)
        assert exact.norm <= min(bound.values()) * (1 + 1e-9) + 1e-15
        assert bound["score"] <= bound["collision"] * (1 + 1e-9) <= bound["lipschitz"] * (1 + 1e-9) ** 2


def test_equal_rewards_are_exactly_flat():
    result = enumerate_policy(np.random.default_rng(0).normal(size=(4, 3)), np.full(9, 0.3))
    assert (result.norm, result.std, result.mad) == (0.0, 0.0, 0.0)
    assert result.value == 0.3
    assert result.score_second_moment > 0


def test_a_deterministic_policy_is_flat():
    result = enumerate_policy([[800.0, 0.0]], [0.2, 1.0])
    assert (result.value, result.norm, result.std, result.collision) == (0.2, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("logits", "rewards", "jacobian", "message"),
    [
        ([0.0, 0.0], [0, 1], None, r"logits must be \[prefix, token\]"),
        ([[0.0]], [0], None, "2 tokens or more"),
        (np.zeros((4, 2)), np.zeros(8), None, "length 3 needs 7 rows and 8 rewards; got 4"),
        ([[0.0, 0.0]], [0, 1, 2], None, "rewards"),
        ([[0.0, np.nan]], [0, 1], None, "logits must be finite"),
        ([[0.0, 0.0]], [0, np.nan], None, "rewards must be finite"),
        ([[0.0, 0.0]], [0, 1], np.zeros((2, 2, 1)), "jacobian"),
    ],
)
def test_what_does_not_fit_together_is_refused(logits, rewards, jacobian, message):
    with pytest.raises(SettingsError, match=message):
        enumerate_policy(logits, rewards, jacobian=jacobian)
