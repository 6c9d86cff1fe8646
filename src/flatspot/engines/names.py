"""Suggestions for a mistyped model name: models beside it, in the hub's cache, and the built-in one."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from flatspot.engines.model_folder import is_adapter

BUILT_IN = "smollm2-135m-instruct"


def is_hub_name(name: str) -> bool:
    """Whether a name that is not a local path can be one of the hub: `NAME` or `OWNER/NAME`.

    >>> is_hub_name("Qwen/Qwen3-0.6B"), is_hub_name("./models"), is_hub_name("small.gguf")
    (True, False, False)
    """
    return name.count("/") < 2 and not name.startswith((".", "/", "~")) and not name.endswith(".gguf")


def did_you_mean(name: str) -> str:
    """`Did you mean …? ` with the most similar model names on this machine; empty if none is similar."""
    names = {BUILT_IN, *beside(name), *in_hub_cache()}
    # compared ignoring case, and by the last part alone too: the organization is easily left out
    by_key: dict[str, set[str]] = {}
    for one in names:
        for key in {one.lower(), one.rstrip("/").rsplit("/", 1)[-1].lower()}:
            by_key.setdefault(key, set()).add(one)
    near = get_close_matches(name.lower(), by_key, n=3, cutoff=0.7)
    near += get_close_matches(name.rstrip("/").rsplit("/", 1)[-1].lower(), by_key, n=3, cutoff=0.8)
    similar = list(dict.fromkeys(one for key in near for one in sorted(by_key[key]) if one != name))[:3]
    return f"Did you mean {' or '.join(similar)}? " if similar else ""


def beside(name: str) -> Iterator[str]:
    """Model folders and GGUF files in the folder where `name` would lie, written as `name` is."""
    parent = Path(name).expanduser().parent
    prefix = name.rstrip("/").rpartition("/")[0]
    try:
        entries = sorted(parent.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.suffix == ".gguf" or (entry.is_dir() and ((entry / "config.json").is_file() or is_adapter(entry))):
            yield f"{prefix}/{entry.name}" if prefix else entry.name


def in_hub_cache() -> Iterator[str]:
    """The names of the models in the cache of huggingface_hub."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    for folder in Path(constants.HF_HUB_CACHE).glob("models--*"):
        yield folder.name.removeprefix("models--").replace("--", "/")
