"""Exact gradients, against the one-token identity, autograd in float64, enumeration, and sampling."""

import pytest
import torch

from flatspot_paper.controlled import objectives
from flatspot_paper.controlled.metrics import reward_statistics


def gradient(value, logits):
    return torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize(("high_init", "moved", "spread"), [(False, False, 2.0), (True, True, 0.5), (True, False, 2.0)])
def test_expected_reward_has_the_gradient_of_the_identity(high_init, moved, spread):
    """∇_z V = Δ p_y (e_y − p), which is Δ p_y times the gradient of the log-likelihood."""
    torch.manual_seed(0)
    logits = (3 * torch.randn(40, 7, dtype=torch.float64)).requires_grad_()
    target = torch.randint(0, 7, (40,))
    rewards = objectives.reward_table(target, torch.full((40,), moved), 7, high_init=high_init).double()
    log_p = logits.log_softmax(1)
    value = gradient(objectives.expected_reward(log_p, rewards).sum(), logits)
    p = logits.detach().softmax(1)
    p_y = p.gather(1, target.unsqueeze(1))
    by_hand = spread * p_y * (torch.eye(7, dtype=torch.float64)[target] - p)
    torch.testing.assert_close(value, by_hand, rtol=1e-12, atol=1e-15)
    supervised = gradient(objectives.log_likelihood(logits.log_softmax(1), target).sum(), logits)
    torch.testing.assert_close(value, spread * p_y * supervised, rtol=1e-12, atol=1e-15)
    _, std = reward_statistics(log_p, rewards)
    torch.testing.assert_close(std, (spread * (p_y * (1 - p_y)).sqrt()).squeeze(1))


def test_log_probabilities_stay_finite_where_softmax_then_log_does_not():
    logits = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True)
    assert torch.isinf(torch.log(logits.detach().softmax(1))[0, 0])  # in float32 the probability is 0
    target = torch.tensor([0])
    loss = -objectives.log_likelihood(logits.log_softmax(1), target)
    assert loss.item() == pytest.approx(200)
    assert gradient(loss, logits).isfinite().all()
    rewards = objectives.reward_table(target, torch.tensor([True]), 3)
    value = objectives.expected_reward(logits.log_softmax(1), rewards)
    assert gradient(value, logits).isfinite().all()
    mean, std = reward_statistics(logits.log_softmax(1), rewards)
    assert mean.item() == pytest.approx(-1) and std.item() == pytest.approx(2 * torch.exp(torch.tensor(-100.0)).item(), rel=1e-3)
    kl = objectives.kl_divergence(logits.log_softmax(1), torch.zeros(1, 3).log_softmax(1))
    assert kl.item() == pytest.approx(torch.log(torch.tensor(3.0)).item(), rel=1e-5)


def test_rewards_of_both_kinds():
    target, moved = torch.tensor([2, 0]), torch.tensor([True, False])
    assert objectives.reward_table(target, moved, 3).tolist() == [[-1, -1, 1], [1, -1, -1]]
    assert objectives.reward_table(target, moved, 3, high_init=True).tolist() == [[0.5, 0.5, 1], [1, -1, -1]]


@pytest.mark.parametrize("coeff", [0.0, 0.7])
def test_reinforce_is_unbiased(coeff):
    """Its gradient, averaged over the labels with their probabilities, is that of V − coeff·KL."""
    torch.manual_seed(1)
    logits = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    rewards = objectives.reward_table(torch.tensor([1]), torch.tensor([False]), 4).double()
    reference = torch.randn(1, 4, dtype=torch.float64).log_softmax(1)
    exact = objectives.expected_reward(logits.log_softmax(1), rewards) - coeff * objectives.kl_divergence(logits.log_softmax(1), reference)
    expected = torch.zeros_like(logits)
    for label in range(4):
        log_p, sample = logits.log_softmax(1), torch.tensor([label])
        penalty = coeff * objectives.log_ratio(log_p, reference, sample)
        one = gradient(objectives.reinforce(log_p, rewards, sample, penalty).sum(), logits)
        expected += logits.detach().softmax(1)[0, label] * one
    torch.testing.assert_close(expected, gradient(exact.sum(), logits), rtol=1e-10, atol=1e-14)


def test_labels_are_drawn_from_the_policy():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0])
    labels = objectives.draw_labels(p.log().expand(40_000, -1), torch.Generator().manual_seed(0))
    share = torch.bincount(labels, minlength=4) / 40_000
    assert ((share - p).abs() <= 4 * (p * (1 - p) / 40_000).sqrt()).all()


def test_pretraining_is_best_at_the_uniform_distribution_on_the_set():
    sets = torch.tensor([[0, 2]])
    uniform = torch.tensor([[0.5, 0.0, 0.5]]).log()
    other = torch.tensor([[0.6, 0.1, 0.3]]).log()
    assert objectives.set_log_likelihood(uniform, sets).item() == pytest.approx(-torch.log(torch.tensor(2.0)).item())
    assert objectives.set_log_likelihood(other, sets) < objectives.set_log_likelihood(uniform, sets)


def test_std_of_equal_rewards_is_zero():
    mean, std = reward_statistics(torch.tensor([[0.3, 0.3, 0.4]]).log(), torch.full((1, 3), 0.5))
    assert mean.item() == pytest.approx(0.5) and std.item() == 0
