"""What a caller asked for, before anything is loaded: the name of a run, and whether a complete one answers it already."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flatspot.core.content import content_text
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.core.settings import Settings
from flatspot.core.shares import exact
from flatspot.rollouts.store import prompt_text
from flatspot.rollouts.tables import read_table

_PROCESS = uuid.uuid4().hex


def what_is_asked(prompts: Sequence[Prompt], policy: Any, reward: Reward, settings: Settings) -> dict[str, Any]:
    """What decides the rows, as far as it is known before the policy is loaded."""
    return {
        "prompts": {"n": len(prompts), "sha256": digest([[p.id, prompt_text(p.text), dict(p.columns)] for p in prompts], 64)},
        "model": {"name": name_of(policy), "stamp": policy_stamp(policy)},
        "engine": {"name": settings.engine, "dtype": settings.dtype, "device": settings.device},
        "reward": reward_asked(reward),
        "sampling": asdict(settings.sampling),
        "seed": settings.seed,
    }


def reward_asked(reward: Reward) -> dict[str, Any]:
    """What of a reward decides the rows: a longer time limit may be given to a run that needs it."""
    return {name: value for name, value in reward.describe().items() if name != "timeout_s"}


def weights_of(reward: Any) -> dict[str, float]:
    """The weight of each part in the total, from what `reward_asked` left in run.json; empty where nothing says, as of a log.

    >>> weights_of({"components": [{"name": "accuracy", "weight": 2.0}]}), weights_of(None)
    ({'accuracy': 2.0}, {})
    """
    parts = reward.get("components") if isinstance(reward, Mapping) else None
    return {str(part["name"]): float(part["weight"]) for part in parts or () if isinstance(part, Mapping) and "weight" in part}


def policy_stamp(policy: Any) -> list[list[Any]] | None:
    """Names, sizes and times of a local policy's files; None where only loading it can tell what it is (a hub name, an object)."""
    if not isinstance(policy, str | Path) or not Path(policy).exists():
        return None
    files = [Path(policy)] if Path(policy).is_file() else sorted(p for p in Path(policy).rglob("*") if p.is_file())
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def name_of(thing: Any) -> str:
    """How a prompt source, policy or reward is called in run.json and the report."""
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, list | tuple) and all(isinstance(item, str) or callable(item) for item in thing) and len(thing) <= 5:
        return ", ".join(name_of(item) for item in thing)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "name", None) or type(thing).__name__
    return f"{name} (in memory)"


def reward_shown(reward: Any, settings: Settings) -> dict[str, Any]:
    """How a run's rewards are given again: a list of names, as a name may hold any text; weights and time limit where they were set.

    >>> reward_shown(["exact_match", r"regex[pattern=yes, (\\d)]"], Settings(reward_weights=(1.0, 0.5)))
    {'reward': ['exact_match', 'regex[pattern=yes, (\\\\d)]'], 'reward_weights': [1.0, 0.5]}
    """
    several = isinstance(reward, list | tuple) and all(isinstance(item, str) or callable(item) for item in reward)
    shown: dict[str, Any] = {"reward": [name_of(item) for item in reward] if several else [name_of(reward)]}
    if settings.reward_weights is not None:
        shown["reward_weights"] = list(settings.reward_weights)
    if settings.reward_timeout_s != Settings().reward_timeout_s:
        shown["reward_timeout_s"] = settings.reward_timeout_s
    return shown


def read_as(settings: Settings) -> dict[str, Any]:
    """What a command must say to read the same prompts again, where it is not what it does anyway."""
    usual, names = Settings(), ("prompt_col", "id_col", "limit")
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(usual, name)}


def resume_words(settings: Settings) -> list[str]:
    """The options that a command needs to go on with a run, beside those that `flatspot diagnose` shows anyway.

    >>> resume_words(Settings(seed=3, fixed_completions=True, max_completions=8))
    ['--seed', '3', '--max-completions', '8', '--fixed-completions']
    """
    usual, words = Settings(), []
    names = (
        "seed",
        "max_completions",
        "fixed_completions",
        "max_generations",
        "round_size",
        "engine",
        "dtype",
        "device",
        "target_error",
        "sure",
    )
    for name in names:
        value = getattr(settings, name)
        if value != getattr(usual, name) and (name, value) != ("engine", "scripted"):
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    if settings.reward_range is not None:
        words += ["--reward-range", *map(exact, settings.reward_range)]
    return words


def digest(value: Any, length: int = 8) -> str:
    """The first hex digits of SHA-256 of a value's JSON, in which objects count by their content.

    What holds an object that only its type can be told of is equal to nothing that another process saw: rows drawn with it are not mixed.
    """
    text, opaque = content_text(value, sort_keys=True)
    return hashlib.sha256((text + (_PROCESS if opaque else "")).encode("utf-8", "backslashreplace")).hexdigest()[:length]


def repeated_prompts(run: Path) -> list[str]:
    """A caveat where prompts of a run folder have the same text: each is judged, and counts, as one of its own. Empty where none have."""
    import pyarrow.compute as pc

    texts = read_table(run / "prompts.parquet", ["prompt"])["prompt"]
    texts = texts.filter(pc.not_equal(texts, ""))  # of a log that holds ids alone
    repeated = len(texts) - pc.count_distinct(texts).as_py()
    if not repeated:
        return []
    verb = "repeats" if repeated == 1 else "repeat"
    return [f"{repeated} of the {len(texts)} prompts {verb} the text of an earlier one; each counts separately in every share."]
