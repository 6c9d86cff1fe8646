"""Policy → completions. Names are imported on first use, so that importing the package loads no deep-learning library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

if TYPE_CHECKING:
    from flatspot.engines.hf import HfEngine
    from flatspot.engines.openvino import OpenVinoEngine
    from flatspot.engines.policy import DEFAULT_POLICY, Policy, load_policy
    from flatspot.engines.registry import ENGINES, load_engine
    from flatspot.engines.scripted import ScriptedEngine

__all__ = ["DEFAULT_POLICY", "ENGINES", "HfEngine", "OpenVinoEngine", "Policy", "ScriptedEngine", "load_engine", "load_policy"]

_HOME = {
    "DEFAULT_POLICY": "policy",
    "ENGINES": "registry",
    "HfEngine": "hf",
    "OpenVinoEngine": "openvino",
    "Policy": "policy",
    "ScriptedEngine": "scripted",
    "load_engine": "registry",
    "load_policy": "policy",
}

__getattr__, __dir__ = on_first_use(__name__, _HOME)
