"""The preallocated cache, against transformers' own growing one over random steps."""

import pytest

torch = pytest.importorskip("torch")
from transformers.cache_utils import DynamicCache  # noqa: E402

from flatspot.engines.kv_cache import PreallocatedLayer, preallocate  # noqa: E402


def filled(rows, length, layers=3):
    cache = DynamicCache()
    for layer in range(layers):
        cache.update(torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4), layer)
    return cache


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_free", [1, 30])
def test_any_course_of_steps_leaves_what_the_growing_cache_has(seed, n_free):
    torch.manual_seed(seed)
    plain = filled(3, 5)
    torch.manual_seed(seed)
    ours = filled(3, 5)
    places = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    plain.batch_select_indices(places)
    preallocate(ours, places, n_free)
    assert all(type(layer) is PreallocatedLayer for layer in ours.layers)
    rows = len(places)
    for step in range(12):
        new = torch.randn(2, rows, 2, 1 + step % 2, 4)
        for layer in range(3):
            for a, b in zip(plain.update(*new, layer), ours.update(*new, layer), strict=True):
                assert torch.equal(a, b)
        if step % 3 == 2 and rows > 1:
            remaining = torch.randperm(rows)[: rows - 1]
            plain.batch_select_indices(remaining)
            ours.batch_select_indices(remaining)
            rows -= 1
    assert plain.get_seq_length() == ours.get_seq_length() == 5 + 18
    for a, b in zip(plain.layers, ours.layers, strict=True):
        assert torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values)


def test_a_layer_of_another_kind_stays_as_it_is():
    class Window(type(filled(1, 1).layers[0])):
        pass

    cache = filled(2, 3)
    window = Window()
    window.update(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    cache.layers[1] = window
    preallocate(cache, torch.tensor([1, 1, 0]), 4)
    assert cache.layers[1] is window and len(window.keys) == 3
    assert type(cache.layers[0]) is PreallocatedLayer
