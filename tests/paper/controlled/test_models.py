"""Published parameter counts, and what measuring leaves alone."""

import pytest
import torch

from flatspot_paper.controlled.models import _resnet18, build_network, only_measuring
from flatspot_paper.controlled.plans import plan_for


def count(network):
    return sum(p.numel() for p in network.parameters)


def test_parameter_counts():
    assert count(build_network(plan_for("mnist"), torch.device("cpu"))) == 784 * 250 + 250 + 250 * 100 + 100 + 100 * 10 + 10 == 222_360
    assert count(_resnet18(1000)) == 11_689_512  # torchvision's page of resnet18
    assert count(build_network(plan_for("cifar10"), torch.device("cpu"))) == 11_689_512 - 513 * 990


def test_bert_mini():
    network = build_network(plan_for("stsb"), torch.device("cpu"))
    width, inner = 256, 1024
    embeddings = (30_522 + 512 + 2 + 2) * width
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    assert count(network) == embeddings + 4 * layer + width * width + width + 6 * (width + 1)
    assert count(network) - 6 * 257 == 11_170_560  # the encoder
    assert not [layer for layer in network.module.modules() if isinstance(layer, torch.nn.Dropout) and layer.p > 0]


def test_padding_changes_nothing():
    network = build_network(plan_for("stsb"), torch.device("cpu"))
    torch.manual_seed(0)
    ids = torch.randint(5, 30_000, (3, 9))
    ids[0, 6:] = 0
    types = torch.zeros_like(ids)
    together = network.log_p((ids, types))
    padded = network.log_p((torch.nn.functional.pad(ids, (0, 20)), torch.nn.functional.pad(types, (0, 20))))
    alone = network.log_p((ids[:1, :6], types[:1, :6]))
    torch.testing.assert_close(together, padded)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_pairs_of_one_batch_do_not_depend_on_each_other():
    network = build_network(plan_for("stsb"), torch.device("cpu"))
    torch.manual_seed(0)
    ids = torch.randint(5, 30_000, (30, 12))
    for row, length in enumerate(torch.randint(3, 13, (30,)).tolist()):
        ids[row, length:] = 0
    together = network.log_p((ids, torch.zeros_like(ids)))  # sorted by length, in four parts
    alone = torch.cat([network.log_p((ids[i : i + 1], torch.zeros_like(ids[:1]))) for i in range(30)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_initial_weights_follow_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    a, b = (build_network(plan_for("mnist", seed=s), torch.device("cpu")) for s in (0, 1))
    again = build_network(plan_for("mnist"), torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(x, y) for x, y in zip(a.parameters, again.parameters, strict=True))
    assert not torch.equal(a.parameters[0], b.parameters[0])


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "stsb"])
def test_in_bfloat16_only_the_products_are(dataset):
    full, half = (build_network(plan_for(dataset, precision=precision), torch.device("cpu")) for precision in ("float32", "bfloat16"))
    torch.manual_seed(0)
    ids = torch.randint(5, 30_000, (6, 12))
    inputs = {"mnist": (torch.randn(6, 1, 28, 28),), "cifar10": (torch.randn(48, 3, 32, 32),), "stsb": (ids, torch.zeros_like(ids))}[
        dataset
    ]
    result, expected = half.log_p(inputs), full.log_p(inputs)
    assert result.dtype == torch.float32 and not torch.equal(result, expected)
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0.15 if dataset == "cifar10" else 0.05)
    gradients = [torch.autograd.grad(out[:, 0].mean(), network.parameters) for out, network in ((result, half), (expected, full))]
    assert {p.dtype for p in (*half.parameters, *gradients[0])} == {torch.float32}
    a, b = (torch.cat([g.flatten() for g in own]) for own in gradients)
    # eighteen layers under BatchNorm: torch's own autocast gives 0.95 too
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > (0.93 if dataset == "cifar10" else 0.98)


def test_measuring_leaves_batch_norm_alone_and_normalizes_by_the_batch():
    network = build_network(plan_for("cifar10"), torch.device("cpu"))
    torch.manual_seed(0)
    x = torch.randn(4, 3, 32, 32)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    with only_measuring(network):
        measured = network.log_p((x,))
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    torch.testing.assert_close(measured, network.log_p((x,)))
    changed = [name for name, value in network.module.state_dict().items() if not torch.equal(before[name], value)]
    assert changed and all("running" in name or "num_batches" in name for name in changed)


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_is_not_there(device):
    from flatspot.core.errors import SettingsError
    from flatspot_paper.controlled.experiment import _device

    with pytest.raises(SettingsError, match="Use --device"):
        _device(device)
