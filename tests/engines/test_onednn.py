"""Packed linear layers: the products of the layers themselves, only while in use, and never of weights that have changed."""

import pytest

torch = pytest.importorskip("torch")

from flatspot.engines.hf import HfEngine  # noqa: E402
from flatspot.engines.onednn import PackedLinears  # noqa: E402


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(160, 320), torch.nn.GELU(), torch.nn.Linear(320, 160, bias=False), torch.nn.Linear(160, 4))


@pytest.fixture
def packed():
    model = network()
    packed = PackedLinears(model)
    if not len(packed):
        pytest.skip("this torch does not offer packed products")
    return model, packed


@pytest.mark.parametrize("shape", [(1, 160), (7, 160), (3, 5, 160), (600, 160)])
def test_packed_products_are_those_in_double_precision_up_to_float32_rounding(packed, shape):
    model, weights = packed
    x = torch.randn(shape)
    with torch.inference_mode():
        exact = network().double()(x.double())
        with weights.in_use():
            found = model(x)
    assert (found - exact).abs().max() < 2e-5


def test_outside_of_its_block_and_after_an_error_the_model_is_its_own(packed):
    model, weights = packed
    with pytest.raises(ZeroDivisionError), weights.in_use():
        assert any("forward" in vars(layer) for layer in model)
        raise ZeroDivisionError
    assert not any("forward" in vars(layer) for layer in model)


def test_refreshing_follows_the_weights(packed):
    model, weights = packed
    x = torch.randn(4, 160)
    with torch.no_grad():
        model[0].weight.mul_(3)
        with weights.in_use():
            stale = model(x)
        weights.refresh()
        with weights.in_use():
            fresh = model(x)
        expected = model(x)
    assert torch.allclose(fresh, expected, atol=1e-5) and not torch.allclose(stale, expected, atol=1e-2)


def test_small_layers_hooked_layers_other_dtypes_and_subclasses_are_left_alone():
    class Own(torch.nn.Linear):
        pass

    hooked = torch.nn.Linear(200, 200)
    hooked.register_forward_hook(lambda *_: None)
    for layer in (torch.nn.Linear(8, 8), hooked, torch.nn.Linear(200, 200, dtype=torch.bfloat16), Own(200, 200)):
        assert len(PackedLinears(torch.nn.Sequential(layer))) == 0


def test_nothing_is_packed_where_memory_is_short_or_lower_precision_was_asked_for(monkeypatch, packed):
    monkeypatch.setattr("flatspot.engines.onednn.available_bytes", lambda: 1000.0)
    assert len(PackedLinears(network())) == 0
    monkeypatch.undo()
    torch.set_float32_matmul_precision("medium")
    try:
        assert len(PackedLinears(network())) == 0
    finally:
        torch.set_float32_matmul_precision("highest")


def test_packed_products_that_are_wrong_are_found_at_load_and_dropped(tiny, monkeypatch):
    policy = tiny("llama")
    monkeypatch.setattr("flatspot.engines.onednn._LEAST", 1)
    monkeypatch.setattr("flatspot.engines.onednn._agrees", lambda *_: True)
    if not len(PackedLinears(policy.model)):
        pytest.skip("this torch does not offer packed products")
    monkeypatch.setattr("flatspot.engines.onednn._product", _flipped)
    engine = HfEngine(policy)
    assert engine.check.passed and len(engine._packed) == 0
    assert "without packed weights" in engine.notes[-1]
    assert not any("forward" in vars(m) for m in policy.model.modules())


def _flipped(weight, bias, x):
    return -torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
