"""The settings that each verb takes as keyword arguments, typed: `Settings` has their meanings and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from flatspot.core.settings import Advantage


class JudgingOptions(TypedDict, total=False):
    """How rows are judged, and where the result goes: what every verb that judges takes."""

    group_size: int
    target_error: float
    worst_case: bool
    advantage: Advantage | None
    top_reachable: bool
    cluster_col: str | None
    deterministic_reward: bool
    reward_range: tuple[float, float] | None
    out: str | Path | None


class InspectOptions(JudgingOptions, total=False):
    """The settings of `flatspot.inspect`."""

    reward_weights: tuple[float, ...] | None


class RescoreOptions(InspectOptions, total=False):
    """The settings of `flatspot.rescore`."""

    reward_timeout_s: float
    answer_col: str | None


class DiagnoseOptions(RescoreOptions, total=False):
    """The settings of `flatspot.diagnose`: all of `Settings`."""

    max_completions: int
    fixed_completions: bool
    max_generations: int | None
    round_size: int | None
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    seed: int
    engine: str
    base_url: tuple[str, ...]
    served_name: str | None
    concurrency: int
    tensor_parallel: int
    worker_engine: str
    workers: int
    ray_address: str | None
    chat_template_kwargs: Mapping[str, Any] | None
    dtype: str
    device: str
    memory_gib: float | None
    gradients: bool
    gradient_completions: int
    prompt_col: str
    prompt_template: str | None
    id_col: str
    limit: int | None
