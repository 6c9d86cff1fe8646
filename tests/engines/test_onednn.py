"""Linear layers by oneDNN: the same products as the layers themselves, only while in use, and never with outdated weights."""

import pytest

torch = pytest.importorskip("torch")

from flatspot.engines.hf import HfEngine  # noqa: E402
from flatspot.engines.onednn import OneDnnLinears  # noqa: E402


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(160, 320), torch.nn.GELU(), torch.nn.Linear(320, 160, bias=False), torch.nn.Linear(160, 4))


@pytest.fixture
def linears():
    model = network()
    linears = OneDnnLinears(model)
    if not len(linears):
        pytest.skip("this torch does not offer oneDNN products")
    return model, linears


@pytest.mark.parametrize("shape", [(1, 160), (7, 160), (3, 5, 160), (600, 160)])
def test_products_are_those_in_double_precision_up_to_float32_rounding(linears, shape):
    model, onednn = linears
    x = torch.randn(shape)
    with torch.inference_mode():
        exact = network().double()(x.double())
        with onednn.in_use():
            outputs = model(x)
    assert (outputs - exact).abs().max() < 2e-5


def test_outside_the_block_and_after_an_error_the_model_is_unchanged(linears):
    model, onednn = linears
    with pytest.raises(ZeroDivisionError), onednn.in_use():
        assert any("forward" in vars(layer) for layer in model)
        raise ZeroDivisionError
    assert not any("forward" in vars(layer) for layer in model)


def test_refreshing_follows_the_weights(linears):
    model, onednn = linears
    x = torch.randn(4, 160)
    with torch.no_grad():
        model[0].weight.mul_(3)
        with onednn.in_use():
            stale = model(x)
        onednn.refresh()
        with onednn.in_use():
            fresh = model(x)
        expected = model(x)
    assert torch.allclose(fresh, expected, atol=1e-5) and not torch.allclose(stale, expected, atol=1e-2)


def test_in_mixed_precision_the_products_are_those_of_the_layers(linears):
    """As while a training in bfloat16 is probed: the first layer gets float32, the next what autocast made of it."""
    model, onednn = linears
    x = torch.randn(5, 160)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
        with onednn.in_use():
            outputs = model(x)
    assert outputs.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(outputs, expected)


def test_small_layers_hooked_layers_other_dtypes_and_subclasses_are_left_alone():
    class Own(torch.nn.Linear):
        pass

    hooked = torch.nn.Linear(200, 200)
    hooked.register_forward_hook(lambda *_: None)
    for layer in (torch.nn.Linear(8, 8), hooked, torch.nn.Linear(200, 200, dtype=torch.bfloat16), Own(200, 200)):
        assert len(OneDnnLinears(torch.nn.Sequential(layer))) == 0


def test_nothing_is_prepacked_if_memory_is_short_or_a_lower_precision_is_set(monkeypatch, linears):
    monkeypatch.setattr("flatspot.engines.onednn.available_bytes", lambda: 1000.0)
    assert len(OneDnnLinears(network())) == 0
    monkeypatch.undo()
    torch.set_float32_matmul_precision("medium")
    try:
        assert len(OneDnnLinears(network())) == 0
    finally:
        torch.set_float32_matmul_precision("highest")


def test_wrong_products_are_detected_at_load_and_dropped(tiny, monkeypatch):
    policy = tiny("llama")
    monkeypatch.setattr("flatspot.engines.onednn._LEAST", 1)
    monkeypatch.setattr("flatspot.engines.onednn._agrees", lambda *_: True)
    if not len(OneDnnLinears(policy.model)):
        pytest.skip("this torch does not offer oneDNN products")
    monkeypatch.setattr("flatspot.engines.onednn._product", _flipped)
    engine = HfEngine(policy)
    assert engine.check.passed and len(engine._onednn) == 0
    assert "without oneDNN linear layers" in engine.notes[-1]
    assert not any("forward" in vars(m) for m in policy.model.modules())


def _flipped(weight, bias, x):
    return -torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
