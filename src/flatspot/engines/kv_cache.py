"""A preallocated key-value cache layer: a step writes its own token and copies nothing.

transformers' `DynamicLayer` concatenates the old cache and the new token into a new tensor at every step: at 128 rows that was a third of
the time of a step on a CPU. `preallocate` replaces each by a `PreallocatedLayer`; layers of any other kind are left as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]  # mypy does not follow transformers
    """Keys and values [row, head, position, feature] at the start of buffers with free rows and positions.

    A subclass because transformers requires one for a cache layer; `keys` and `values` are views of the buffers.
    """

    def __init__(self, keys: Tensor, values: Tensor, n_free: int, capacity: int | None = None) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._n_rows, self._length = keys.shape[0], keys.shape[-2]
        self._buffers = [_with_free_positions(old, n_free, capacity) for old in (keys, values)]
        self._set_views()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the new positions after the old ones; a full buffer doubles."""
        end = self._length + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = [_with_free_positions(old, end, len(self._buffers[0])) for old in (self.keys, self.values)]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._n_rows, :, self._length : end] = new
        self._length = end
        self._set_views()
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order, also several times: only rows that change places are copied."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(-1)
        if len(moved):
            for buffer in self._buffers:
                buffer[moved, :, : self._length] = buffer[indices[moved], :, : self._length]
        self._n_rows = len(indices)
        self._set_views()

    def _set_views(self) -> None:
        self.keys, self.values = (buffer[: self._n_rows, :, : self._length] for buffer in self._buffers)


def _with_free_positions(old: Tensor, n_free: int, capacity: int | None = None) -> Tensor:
    rows, heads, length, features = old.shape
    buffer = old.new_empty(capacity or rows, heads, length + n_free, features)
    buffer[:rows, :, :length] = old
    return buffer


def is_plain(cache: Cache) -> bool:
    """Whether every layer keeps all positions, as they came: no window, no recurrent state, no cross-attention."""
    layers = getattr(cache, "layers", None) or [None]
    return all(type(layer) is DynamicLayer for layer in layers)


def preallocate(cache: Cache, places: Tensor, n_free: int, capacity: int | None = None) -> None:
    """Repeat the rows of a cache by `places`, with `n_free` free positions in its plain layers, and room for `capacity` rows."""
    own = getattr(cache, "self_attention_cache", cache)
    layers = getattr(own, "layers", None)
    if layers is None:
        cache.batch_select_indices(places)
        return
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            layers[i] = PreallocatedLayer(layer.keys[places], layer.values[places], n_free, capacity)
        else:
            layer.batch_select_indices(places)
    if own is not cache:
        cache.cross_attention_cache.batch_select_indices(places)
