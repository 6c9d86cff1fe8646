"""Group norms and means, against separate passes over each group."""

import numpy as np
import pytest
import torch

from flatspot_paper.controlled.data import Dataset
from flatspot_paper.controlled.metrics import Measured, epoch_means, measure_batch
from flatspot_paper.controlled.models import build_network, only_measuring
from flatspot_paper.controlled.plans import plan_for
from flatspot_paper.controlled.train import finetuning

from .conftest import images, samples_of

REWARD, STD, ACCURACY, LOSS, NORM = 2, 3, 1, 0, 6


def by_itself(network, samples, plan, method, rows):
    """Gradient norm, loss, reward, std, accuracy of the mean objective over some samples, in a pass of their own."""
    logits = network.logits(*(t[rows] for t in samples.train))
    p, target = logits.softmax(1), samples.labels.target[rows]
    wrong = torch.where(samples.labels.moved[rows] & plan.high_init, 0.5, -1.0).unsqueeze(1)
    rewards = torch.where(torch.arange(10) == target.unsqueeze(1), 1.0, wrong)
    value = (p * rewards).sum(1)
    objective = -torch.nn.functional.cross_entropy(logits, target) if method == "sft" else value.mean()
    gradient = torch.autograd.grad(objective, network.parameters)
    norm = torch.cat([g.flatten() for g in gradient]).norm()
    std = (p * (rewards - value.unsqueeze(1)) ** 2).sum(1).sqrt().mean()
    accuracy = (p.argmax(1) == target).float().mean()
    loss = torch.nn.functional.cross_entropy(logits, target)
    return {NORM: norm.item(), REWARD: value.mean().item(), STD: std.item(), ACCURACY: accuracy.item(), LOSS: loss.item()}, gradient


@pytest.mark.parametrize("method", ["sft", "rft"])
@pytest.mark.parametrize("high_init", [False, True])
def test_one_pass_gives_what_separate_passes_give(digits, method, high_init):
    plan = plan_for("mnist", n_train=200, n_test=50, high_init=high_init)
    samples, network = samples_of(digits, plan), build_network(plan, torch.device("cpu"))
    rows = torch.arange(150)
    groups = (rows[samples.labels.moved[rows]], rows[~samples.labels.moved[rows]])
    objective = finetuning(samples, plan, method, torch.Generator(), None)
    measured, gradient = measure_batch(network, samples.train, groups, objective)
    assert measured.counts == (len(groups[0]), len(groups[1]), 150)
    for i, own in enumerate((*groups, rows)):
        expected, separate = by_itself(network, samples, plan, method, own)
        for column, value in expected.items():
            assert measured.values[i, column].item() == pytest.approx(value, rel=1e-4, abs=1e-6), (i, column)
    for actual, value in zip(gradient, separate, strict=True):  # the step is that of the whole batch
        torch.testing.assert_close(actual, value, rtol=1e-4, atol=1e-7)


def test_under_batch_norm_the_step_is_that_of_the_whole_batch():
    plan = plan_for("cifar10", n_train=20, n_test=10)
    samples = samples_of(Dataset(images(20, 1, (32, 32, 3)), images(10, 2, (32, 32, 3)), "made up"), plan)
    network = build_network(plan, torch.device("cpu"))
    rows = torch.arange(12)
    moved = torch.zeros(20, dtype=torch.bool)
    moved[[3]] = True  # a group of one
    groups = (rows[moved[rows]], rows[~moved[rows]])
    objective = finetuning(samples, plan, "sft", torch.Generator(), None)
    with only_measuring(network):
        measured, gradient = measure_batch(network, samples.train, groups, objective)
        log_p = network.log_p(tuple(t[torch.cat(groups)] for t in samples.train))
    likelihood = log_p.gather(1, samples.labels.target[torch.cat(groups)].unsqueeze(1)).squeeze(1)
    for i, part in enumerate((likelihood[:1], likelihood[1:], likelihood)):
        own = torch.autograd.grad(part.mean(), network.parameters, retain_graph=True)
        assert measured.values[i, NORM].item() == pytest.approx(torch.cat([g.flatten() for g in own]).norm().item(), rel=1e-3)
    for actual, value in zip(gradient, own, strict=True):
        torch.testing.assert_close(actual, value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
@pytest.mark.parametrize("n_moved", [0, 3, 12])
def test_without_the_groups_norms_the_rest_is_the_same(digits, dataset, n_moved):
    plan = plan_for(dataset, n_train=20, n_test=10)
    shape = (28, 28) if dataset == "mnist" else (32, 32, 3)
    samples = samples_of(Dataset(images(20, 1, shape), images(10, 2, shape), "made up"), plan)
    network = build_network(plan, torch.device("cpu"))
    groups, objective = torch.arange(12).split([n_moved, 12 - n_moved]), finetuning(samples, plan, "rft", torch.Generator(), None)
    with only_measuring(network):
        both, one = (measure_batch(network, samples.train, groups, objective, norms=norms) for norms in (True, False))
    assert one[0].counts == both[0].counts
    assert torch.isnan(one[0].values[:2, NORM]).all() and torch.isfinite(one[0].values[2]).all()
    finite = ~torch.isnan(one[0].values)
    torch.testing.assert_close(one[0].values[finite], both[0].values[finite], rtol=1e-4, atol=1e-7)
    for a, b in zip(one[1], both[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6 + 1e-4 * b.abs().max().item())


def test_epoch_means_weigh_each_batch_by_its_samples():
    first = Measured((1, 3, 4), torch.tensor([[1.0], [2.0], [10.0]], dtype=torch.float64))
    second = Measured((3, 0, 3), torch.tensor([[5.0], [torch.nan], [20.0]], dtype=torch.float64))
    counts, means = epoch_means([first, second])
    assert counts.tolist() == [4, 3, 7]
    assert means[:, 0].tolist() == [(1 * 1 + 3 * 5) / 4, 2.0, pytest.approx((4 * 10 + 3 * 20) / 7)]


def test_a_group_that_is_nowhere_has_no_mean():
    counts, means = epoch_means([Measured((0, 2, 2), torch.tensor([[torch.nan], [2.0], [2.0]], dtype=torch.float64))])
    assert counts.tolist() == [0, 2, 2]
    assert np.isnan(means[0, 0]) and means[1, 0] == 2


def test_a_loss_that_is_not_a_number_is_not_averaged_away():
    _, means = epoch_means([Measured((1, 1, 2), torch.tensor([[1.0], [torch.nan], [torch.nan]], dtype=torch.float64))])
    assert np.isnan(means[1, 0]) and np.isnan(means[2, 0])
