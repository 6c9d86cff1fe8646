"""Matrix products in place of convolutions, against torch's own convolution and BatchNorm."""

import copy

import pytest
import torch
from torch import nn

from flatspot_paper.controlled import convolutions
from flatspot_paper.controlled.convolutions import BatchNorm, Convolution
from flatspot_paper.controlled.models import _resnet18

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def plain(module):
    """The same network with torch's convolution and BatchNorm, and ReLU before the maximum, as torchvision has it."""
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if type(part) in (Convolution, BatchNorm):
            part.forward = type(part).__bases__[0].forward.__get__(part)
    copied[2], copied[3] = copied[3], copied[2]
    return copied


def outputs_and_gradients(function, *tensors):
    inputs = [t.detach().clone().requires_grad_() for t in tensors]
    out = function(*inputs)
    return [out, *torch.autograd.grad((out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum(), inputs)]


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution(side, stride, size, layout):
    torch.manual_seed(side)
    layer = Convolution(3, 5, size, stride).double()
    x = torch.randn(7, 3, side, side, dtype=torch.float64).contiguous(memory_format=layout)
    weight = layer.weight.detach().contiguous(memory_format=layout)
    results = outputs_and_gradients(lambda x, w: torch.func.functional_call(layer, {"weight": w}, x), x, weight)
    expected = outputs_and_gradients(lambda x, w: nn.functional.conv2d(x, w, stride=stride, padding=size // 2), x, weight)
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("height", [1, 3])
def test_a_map_that_is_not_square_takes_the_plain_way(height):
    layer, x = Convolution(2, 3, 3), torch.randn(4, 2, height, 2)
    assert torch.equal(layer(x), nn.functional.conv2d(x, layer.weight, padding=1))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_single_pixels(training):
    torch.manual_seed(0)
    ours, theirs = BatchNorm(6).double().train(training), nn.BatchNorm2d(6).double().train(training)
    for layer in (ours, theirs):
        layer.running_mean.fill_(0.3)
        layer.weight.data.copy_(torch.arange(1.0, 7.0))
    x = torch.randn(9, 6, 1, 1, dtype=torch.float64)
    for a, b in zip(outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, **CLOSE)


def test_the_network_is_that_of_plain_convolutions():
    torch.manual_seed(0)
    ours = _resnet18(10).module.double()
    theirs = plain(ours)
    x = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    output, expected = ours(x), theirs(x)
    torch.testing.assert_close(output, expected, **CLOSE)
    weights = torch.randn_like(output)
    gradients = [torch.autograd.grad((out * weights).sum(), list(m.parameters())) for out, m in ((output, ours), (expected, theirs))]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, **CLOSE)


def test_a_few_steps_of_training_are_equal_up_to_rounding():
    torch.manual_seed(0)
    ours = _resnet18(10).module
    theirs = plain(ours)
    x, target, losses = torch.randn(32, 3, 32, 32), torch.randint(10, (32,)), []
    for module in (ours, theirs):
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
        for _ in range(4):
            loss = nn.functional.cross_entropy(module(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:4] == pytest.approx(losses[4:], rel=1e-3)
    assert losses[3] < losses[0]


def test_without_onednn_the_products_are_torchs_own(monkeypatch):
    x, weight = torch.randn(5, 4), torch.randn(3, 4)
    usual = outputs_and_gradients(convolutions._product, x, weight)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", None, raising=False)
    convolutions._available.cache_clear()
    assert not convolutions._available()
    for a, b in zip(outputs_and_gradients(convolutions._product, x, weight), usual, strict=True):
        torch.testing.assert_close(a, b)
    convolutions._available.cache_clear()
