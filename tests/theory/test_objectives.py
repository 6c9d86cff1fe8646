import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import enumerate_policy, token_probabilities
from flatspot.theory.objectives import OBJECTIVES, grpo, pass_at_k
from flatspot.theory.separation import exact_steps

ALL = {**OBJECTIVES, "grpo, ddof 0": grpo(ddof=0), "grpo, epsilon": grpo(epsilon=0.1), "pass_at_2": pass_at_k(2)}
RATES = st.floats(0.001, 0.999)


def written_out(name, r):
    """The coefficients as a paper or a trainer states them, from the rewards of one group."""
    k = len(r)
    if name == "reinforce":
        return r / k
    if name == "rloo":
        return np.array([(r[i] - (r.sum() - r[i]) / (k - 1)) / k for i in range(k)])
    if name == "dr_grpo":
        return (r - r.mean()) / k
    if name.startswith("grpo"):
        std = r.std(ddof=0 if "ddof 0" in name else 1)
        return np.zeros(k) if std == 0 else (r - r.mean()) / (std + (0.1 if "epsilon" in name else 0)) / k
    if name == "maxrl":
        return r / r.sum() if r.sum() else np.zeros(k)
    n = int(name[-1])
    subsets = list(itertools.combinations(range(k), n))
    return np.array([sum(i in s and r[list(s)].max() for s in subsets) / len(subsets) for i in range(k)])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [4, 5])
def test_coefficients_against_the_definition_for_every_group(name, size):
    for group in itertools.product((0.0, 1.0), repeat=size):
        coefficients_of_group = ALL[name].coefficients(group)
        assert coefficients_of_group == pytest.approx(written_out(name, np.array(group)), abs=1e-14), group


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("p", [0.03, 0.4, 0.9])
def test_the_weight_is_the_expectation_over_every_group(name, p):
    """E[Σ c_i s_i] over all 2^K groups, with E[s | r] = ∇p/p or −∇p/(1 − p): the score's size is taken as 1/p and −1/(1 − p)."""
    size, total = 5, 0.0
    for group in itertools.product((0.0, 1.0), repeat=size):
        chance = math.prod(p if r else 1 - p for r in group)
        total += chance * sum(c * (1 / p if r else -1 / (1 - p)) for c, r in zip(written_out(name, np.array(group)), group, strict=True))
    assert ALL[name].weight(p, group_size=size) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_monte_carlo_meets_the_declared_expectation_within_three_standard_errors(name):
    """Whole groups drawn from an enumerable policy: the mean update is w(p)·∇p, coordinate by coordinate."""
    rng = np.random.default_rng(3)
    logits, rewards, size, n = rng.normal(size=(4, 3)), np.array([1.0, 0, 0, 1, 0, 0, 0, 0, 0]), 8, 40_000
    exact, p = enumerate_policy(logits, rewards), token_probabilities(logits)
    scores = np.zeros((9, 4, 3))
    for first, second in itertools.product(range(3), repeat=2):
        scores[3 * first + second, 0] += np.eye(3)[first] - p[0]
        scores[3 * first + second, 1 + first] += np.eye(3)[second] - p[1 + first]
    groups = rng.choice(9, size=(n, size), p=exact.probability)
    hits = rewards[groups]
    by_count = np.array([ALL[name].by_count(k, size) for k in range(size + 1)])[hits.sum(1).astype(int)]
    coefficients = np.where(hits == 1, by_count[:, :1], by_count[:, 1:])
    updates = np.einsum("gi,gip->gp", coefficients, scores.reshape(9, -1)[groups])
    declared = ALL[name].weight(exact.value, group_size=size) * exact.gradient
    error = updates.std(0, ddof=1) / np.sqrt(n)
    assert (np.abs(updates.mean(0) - declared) <= 3 * error + 1e-15).all()
    assert error.max() < 0.1 * np.abs(declared).max()  # it could have failed


@pytest.mark.parametrize("name", ALL)
def test_the_limit_is_what_large_groups_tend_to(name):
    for p in (0.1, 0.5, 0.8):
        limit = ALL[name].limit_weight(p)
        assert ALL[name].weight(p, group_size=4000) == pytest.approx(limit, rel=0.002)


def test_closed_forms():
    p = np.array([1e-4, 0.2, 0.7])
    assert OBJECTIVES["maxrl"].weight(p, group_size=8) == pytest.approx((1 - (1 - p) ** 8) / p)
    assert OBJECTIVES["dr_grpo"].weight(p, group_size=8) == pytest.approx(np.full(3, 7 / 8))
    assert OBJECTIVES["rloo"].weight(p, group_size=8) == pytest.approx(np.ones(3))
    assert pass_at_k(4).weight(p, group_size=8) == pytest.approx(4 * (1 - p) ** 3)
    assert grpo().limit_weight(p) == pytest.approx(1 / np.sqrt(p * (1 - p)))


@given(p=RATES, size=st.integers(2, 40))
def test_grpo_never_amplifies_beyond_the_root_of_the_group_size(p, size):
    assert grpo(ddof=0).weight(p, group_size=size) <= np.sqrt(size - 1) * (1 + 1e-9)
    assert grpo(ddof=1).weight(p, group_size=size) <= (size - 1) / np.sqrt(size) * (1 + 1e-9)
    assert OBJECTIVES["maxrl"].weight(p, group_size=size) <= size


@given(p=RATES)
def test_a_group_of_one_success_in_a_million_still_counts(p):
    assert OBJECTIVES["grpo"].weight(1e-12, group_size=8) == pytest.approx(7 / np.sqrt(8))
    assert OBJECTIVES["reinforce"].weight(p, group_size=1) == pytest.approx(1)


def test_the_steps_of_the_three_kinds():
    steps = {name: exact_steps(OBJECTIVES[name], 1e-4, rate=0.5) for name in ("reinforce", "grpo", "maxrl")}
    assert steps == {"reinforce": 10022, "grpo": 202, "maxrl": 10}
    assert steps["reinforce"] == pytest.approx(1 / (2 * 0.5 * 1e-4), rel=0.01)
    assert steps["grpo"] == pytest.approx(1 / (0.5 * 0.01), rel=0.02)
    assert steps["maxrl"] == pytest.approx(np.log(1e4) / (2 * 0.5), abs=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OBJECTIVES["rloo"].weight(0.0, group_size=4), "strictly between 0 and 1"),
        (lambda: OBJECTIVES["rloo"].weight(float("nan"), group_size=4), "strictly between 0 and 1"),
        (lambda: OBJECTIVES["rloo"].coefficients([1.0]), "at least 2"),
        (lambda: OBJECTIVES["grpo"].coefficients([0.5, 1.0]), "zeros and ones"),
        (lambda: pass_at_k(4).weight(0.5, group_size=3), "at least 4"),
        (lambda: pass_at_k(0), "at least 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(SettingsError, match=message):
        call()
