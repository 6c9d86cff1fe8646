"""What the rows of a run depend on, before anything is loaded: it names a run folder, and finds a complete one that answers a call."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flatspot.core.content import content_text
from flatspot.core.plain import JsonObject
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.core.request import name_of
from flatspot.core.settings import Settings
from flatspot.rollouts.store import prompt_text

_PROCESS = uuid.uuid4().hex


def run_key(prompts: Sequence[Prompt], policy: object, reward: Reward, settings: Settings) -> JsonObject:
    """What decides the rows, as far as it is known before the policy is loaded: `RunRecord.key` of the run that holds them."""
    of_engine = ("served_name", "chat_template_kwargs", *(["worker_engine"] if settings.engine == "ray" else []))
    return {
        "prompts": {"n": len(prompts), "sha256": digest([[p.id, prompt_text(p.text), dict(p.columns)] for p in prompts], 64)},
        "model": {"name": name_of(policy), "stamp": policy_stamp(policy)},
        "engine": {"name": settings.engine, "dtype": settings.dtype, "device": settings.device}
        | {name: value for name in of_engine if (value := getattr(settings, name)) is not None},
        "reward": reward_identity(reward),
        "sampling": asdict(settings.sampling),
        "seed": settings.seed,
    }


def reward_identity(reward: Reward) -> JsonObject:
    """What of a reward decides the rows: a longer time limit may be given to a run that needs it."""
    return {name: value for name, value in reward.describe().items() if name != "timeout_s"}


def component_weights(reward: object) -> dict[str, float]:
    """The weight of each reward in the total, from the `reward_identity` in run.json; empty where it has none, as of a log.

    >>> component_weights({"components": [{"name": "accuracy", "weight": 2.0}]}), component_weights(None)
    ({'accuracy': 2.0}, {})
    """
    parts = reward.get("components") if isinstance(reward, Mapping) else None
    return {str(part["name"]): float(part["weight"]) for part in parts or () if isinstance(part, Mapping) and "weight" in part}


def policy_stamp(policy: object) -> list[list[Any]] | None:
    """Names, sizes and times of a local policy's files; None where only loading it can tell what it is (a hub name, an object)."""
    if not isinstance(policy, str | Path) or not Path(policy).exists():
        return None
    files = [Path(policy)] if Path(policy).is_file() else sorted(p for p in Path(policy).rglob("*") if p.is_file())
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def digest(value: Any, length: int = 8) -> str:
    """The first hex digits of SHA-256 of a value's JSON, in which objects count by their content.

    What holds an object that only its type can be told of is equal to nothing that another process saw: rows drawn with it are not mixed.
    """
    text, opaque = content_text(value, sort_keys=True)
    return hashlib.sha256((text + (_PROCESS if opaque else "")).encode("utf-8", "backslashreplace")).hexdigest()[:length]
