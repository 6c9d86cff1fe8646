import numpy as np
import pytest

from flatspot.core.errors import SettingsError
from flatspot.theory.enumerate import enumerate_policy

torch = pytest.importorskip("torch")

from flatspot.theory.gradients import estimate_gradient, gamma_lower  # noqa: E402


class Tabular:
    """Three tokens, two positions, a free logit for each."""

    def __init__(self, seed=0):
        self.table = torch.tensor(np.random.default_rng(seed).normal(size=(4, 3)), requires_grad=True)

    def logits_of(self, completion):
        rows = [0, *(1 + token for token in completion[:-1])]
        return self.table[rows]

    def exact(self, rewards):
        return enumerate_policy(self.table.detach().numpy(), rewards)


def score(policy, completion):
    log_p = torch.log_softmax(policy.logits_of(completion), -1)
    (gradient,) = torch.autograd.grad(sum(log_p[i, token] for i, token in enumerate(completion)), policy.table)
    return gradient.numpy().reshape(-1)


def test_the_numbers_are_those_of_the_stored_scores():
    policy, rng = Tabular(), np.random.default_rng(1)
    completions = [tuple(rng.integers(0, 3, 2).tolist()) for _ in range(10)]
    rewards = rng.uniform(size=10)
    estimate = estimate_gradient([policy.table], policy.logits_of, completions, rewards, reward_range=(0, 1))
    scores = np.stack([score(policy, y) for y in completions])
    halves = [(rewards[h] - rewards[h].mean()) @ scores[h] / 4 for h in (slice(0, None, 2), slice(1, None, 2))]
    assert estimate.norm_sq.mean == pytest.approx(halves[0] @ halves[1], rel=1e-5)
    assert (estimate.n, estimate.length) == (10, 2)
    assert estimate.norm_sq.lo < estimate.norm_sq.mean < estimate.norm_sq.hi


def test_each_distinct_completion_of_a_half_is_differentiated_once():
    policy, calls = Tabular(), []

    def counted(completion):
        calls.append(tuple(completion))
        return policy.logits_of(completion)

    completions = [(0, 1), (2, 2), (0, 1), (1, 0), (1, 1), (2, 2), (0, 1), (2, 2)]
    rewards = [0.0, 0.2, 1.0, 0.4, 0.5, 0.9, 0.0, 0.1]  # of equal completions not always equal: a reward may be random
    estimate_gradient([policy.table], counted, completions, rewards, reward_range=(0, 1))
    first, second = {(0, 1), (1, 1)}, {(2, 2), (1, 0)}
    assert sorted(calls) == sorted([*first, *second, *first])  # the first half again, for its products with the second's sum


def test_it_converges_to_the_enumerated_policy():
    policy, rng = Tabular(), np.random.default_rng(2)
    rewards = rng.uniform(size=9)
    exact = policy.exact(rewards)
    completions = rng.choice(9, size=600, p=exact.probability)
    estimate = estimate_gradient(
        [policy.table], policy.logits_of, [divmod(int(y), 3) for y in completions], rewards[completions], reward_range=(0, 1)
    )
    norm = estimate.norm
    for part, true in (
        (norm, exact.norm),
        (estimate.score_second_moment, exact.score_second_moment),
        (estimate.collision, exact.collision),
    ):
        assert part.lo <= true <= part.hi
        assert part.hi - part.lo < (1.0 if part is norm else 0.5) * true


def test_the_second_moment_is_that_of_all_tokens_and_not_of_those_drawn():
    """One token, logits W·x over 5 tokens, one of them common: 600 equal completions, each with signs of its own."""
    rng = np.random.default_rng(5)
    jacobian = rng.normal(size=(5, 7))
    weights = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    base = torch.tensor([4.0, 0.0, 0.5, 1.0, -1.0], dtype=torch.float64)

    def logits_of(completion):
        return (base + torch.tensor(jacobian) @ weights)[None]

    p = np.exp(base.numpy()) / np.exp(base.numpy()).sum()
    exact = p @ ((jacobian - p @ jacobian) ** 2).sum(1)
    estimate = estimate_gradient([weights], logits_of, [(0,)] * 600, np.zeros(600), reward_range=(0, 1))
    assert estimate.score_second_moment.mean == pytest.approx(exact, rel=0.1)
    assert estimate.score_second_moment.lo < exact < estimate.score_second_moment.hi
    assert ((jacobian[0] - p @ jacobian) ** 2).sum() < 0.2 * exact  # what the completions drawn have


def test_equal_completions_leave_an_upper_limit_above_the_true_norm():
    """Two arms of p = 0.05, sixteen draws of the other one: nothing in the sample differs."""
    logits = torch.tensor([[0.0, float(np.log(0.05 / 0.95))]], dtype=torch.float64, requires_grad=True)
    estimate = estimate_gradient([logits], lambda _: logits, [(0,)] * 16, np.zeros(16), reward_range=(0, 1))
    assert estimate.norm.lo == estimate.norm.mean == 0.0
    assert estimate.norm.hi > np.sqrt(2) * 0.05 * 0.95  # the norm of the two-armed softmax
    assert estimate.collision.lo < 2 * 0.05 * 0.95 < estimate.collision.hi


def test_rewards_that_are_missing_leave_their_completions_out():
    policy = Tabular()
    completions, rewards = [(0, 1), (2, 2), (1, 0), (0, 0), (1, 1)], [0.0, np.nan, 1.0, 0.0, 1.0]
    scored = [i for i, r in enumerate(rewards) if not np.isnan(r)]
    estimate = estimate_gradient([policy.table], policy.logits_of, completions, rewards, reward_range=(0, 1))
    same = estimate_gradient(
        [policy.table], policy.logits_of, [completions[i] for i in scored], [rewards[i] for i in scored], reward_range=(0, 1)
    )
    assert estimate == same
    assert estimate.n == 4


def test_equal_rewards_are_no_proof_of_a_flat_gradient():
    policy = Tabular()
    estimate = estimate_gradient([policy.table], policy.logits_of, [(0, 1), (2, 2), (1, 0), (0, 0)] * 4, np.zeros(16), reward_range=(0, 1))
    assert (estimate.norm.mean, estimate.norm.lo) == (0.0, 0.0)
    assert estimate.norm.hi == pytest.approx(estimate.std_hi * np.sqrt(estimate.score_second_moment.hi))
    assert estimate.std_hi > 0.4


@pytest.mark.parametrize("rewards", [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0, np.nan], [np.nan] * 4])
def test_fewer_than_four_rewards_are_refused(rewards):
    policy = Tabular()
    with pytest.raises(SettingsError, match="at least 4 scored completions"):
        estimate_gradient([policy.table], policy.logits_of, [(0, 1)] * len(rewards), rewards, reward_range=(0, 1))


def test_completions_and_rewards_must_pair():
    policy = Tabular()
    with pytest.raises(SettingsError, match="one reward per completion"):
        estimate_gradient([policy.table], policy.logits_of, [(0, 1)], [0.0, 1.0], reward_range=(0, 1))


def test_gamma_is_approached_from_below():
    """A two-layer network over the last token; its Jacobian at each prefix, and its spectral norm, by torch and numpy."""
    rng = np.random.default_rng(0)
    w, u = (torch.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((5, 4), (6, 5)))
    features = torch.tensor(rng.normal(size=(6, 4)))

    def logits_of(completion):
        return torch.stack([u @ torch.tanh(w @ features[token]) for token in (0, *completion[:-1])])

    def spectral(token):
        jacobians = torch.autograd.functional.jacobian(lambda a, b: b @ torch.tanh(a @ features[token]), (w, u))
        return np.linalg.norm(np.concatenate([j.reshape(6, -1).numpy() for j in jacobians], 1), ord=2)

    completion = (3, 5, 1, 2)
    exact = [spectral(token) for token in (0, 3, 5, 1)]
    estimate = gamma_lower([w, u], logits_of, completion, positions=4, iterations=50)
    assert estimate <= max(exact) * (1 + 1e-6)
    assert estimate == pytest.approx(max(exact), rel=0.01)
    assert gamma_lower([w, u], logits_of, completion, positions=1) <= exact[0] * (1 + 1e-6)


def test_a_parameter_that_is_not_used_changes_nothing():
    policy, idle = Tabular(), torch.zeros(3, requires_grad=True)
    completions, rewards = [(0, 1), (2, 2), (1, 0), (0, 0)], [0.0, 0.3, 1.0, 0.5]
    one = estimate_gradient([policy.table], policy.logits_of, completions, rewards, reward_range=(0, 1))
    assert estimate_gradient([policy.table, idle], policy.logits_of, completions, rewards, reward_range=(0, 1)) == one
    assert gamma_lower([policy.table, idle], policy.logits_of, (0, 1)) == pytest.approx(1.0, rel=1e-5)
