"""A key-value cache layer with room for all tokens to come, so that a step writes its own token and copies nothing.

transformers' `DynamicLayer` joins the old cache and the new token into a new tensor at every step: at 128 rows that was a third of the
time of a step on a CPU. `make_room` puts a `RoomyLayer` in the place of each; layers of any other kind stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is read as Any
    """Keys and values [row, head, position, feature] at the start of buffers with free rows and positions.

    A subclass, because that is how transformers takes a cache layer; `keys` and `values` are views of the buffers.
    """

    def __init__(self, keys: Any, values: Any, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._stores = [self._copied(keys, room), self._copied(values, room)]
        self._show()

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write the new positions behind the old ones; a full buffer doubles."""
        end = self._length + key_states.shape[-2]
        if end > self._stores[0].shape[-2]:
            self._stores = [self._copied(old, end) for old in (self.keys, self.values)]
        for store, new in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, self._length : end] = new
        self._length = end
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: Any) -> None:
        """Keep these rows, in this order: only the rows that change their place are copied."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(-1)
        for i, store in enumerate(self._stores):
            kept = store[: len(indices)]
            kept[moved, :, : self._length] = store[indices[moved], :, : self._length]
            self._stores[i] = kept
        self._show()

    def _copied(self, old: Any, room: int) -> Any:
        rows, heads, length, features = old.shape
        store = old.new_empty(rows, heads, length + room, features)
        store[:, :, :length] = old
        return store

    def _show(self) -> None:
        self.keys, self.values = (store[:, :, : self._length] for store in self._stores)


def make_room(cache: Any, places: Any, room: int) -> None:
    """Repeat the rows of a cache by `places`, and leave `room` free positions in its plain layers."""
    own = getattr(cache, "self_attention_cache", cache)
    layers = getattr(own, "layers", None)
    if layers is None:
        cache.batch_select_indices(places)
        return
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
            layers[i] = RoomyLayer(layer.keys[places], layer.values[places], room)
        else:
            layer.batch_select_indices(places)
    if own is not cache:
        cache.cross_attention_cache.batch_select_indices(places)
