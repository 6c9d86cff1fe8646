"""The types of what a user passes to a training: a model, rewards, and labeled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flatspot.rewards.load import LoadedReward, RewardSpec

if TYPE_CHECKING:
    from flatspot.engines.policy import InMemory

ModelSource: TypeAlias = "str | Path | InMemory"
"""A hub name, a folder, a GGUF file, or a pair (transformers model, tokenizer)."""
RewardSource: TypeAlias = RewardSpec | Sequence[RewardSpec] | LoadedReward
"""One reward or several, as `diagnose` takes them; or loaded ones."""
LabeledRow: TypeAlias = Mapping[str, Any]
"""A prompt to learn: {"prompt": text or messages, "completion": text}; further columns as "columns"."""
