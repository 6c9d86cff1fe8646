"""flatspot finds the prompts that a reinforcement-finetuning run cannot learn from, before anyone pays for the run.

Names resolve on first use, so `import flatspot` loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flatspot import theory as theory
    from flatspot import training as training
    from flatspot.core.errors import FlatspotError as FlatspotError
    from flatspot.core.records import Completion as Completion
    from flatspot.core.records import Prompt as Prompt
    from flatspot.core.records import Sampling as Sampling
    from flatspot.core.settings import Settings as Settings
    from flatspot.engines.scripted import ScriptedEngine as ScriptedEngine
    from flatspot.flow.compare import compare as compare
    from flatspot.flow.diagnose import Diagnosis as Diagnosis
    from flatspot.flow.diagnose import diagnose as diagnose
    from flatspot.flow.diagnose import inspect as inspect
    from flatspot.flow.diagnose import rescore as rescore
    from flatspot.stats.evidence import reward_std as reward_std
    from flatspot.stats.triage.loop import triage as triage
    from flatspot.training.warmup.callback import WarmupCallback as WarmupCallback
    from flatspot.training.watch.callback import FlatspotCallback as FlatspotCallback
    from flatspot.training.watch.wrap import watch as watch

_HOME = {
    "Completion": "flatspot.core.records",
    "Diagnosis": "flatspot.flow.diagnose",
    "FlatspotCallback": "flatspot.training.watch.callback",
    "FlatspotError": "flatspot.core.errors",
    "Prompt": "flatspot.core.records",
    "Sampling": "flatspot.core.records",
    "ScriptedEngine": "flatspot.engines.scripted",
    "Settings": "flatspot.core.settings",
    "WarmupCallback": "flatspot.training.warmup.callback",
    "compare": "flatspot.flow.compare",
    "diagnose": "flatspot.flow.diagnose",
    "inspect": "flatspot.flow.diagnose",
    "rescore": "flatspot.flow.diagnose",
    "reward_std": "flatspot.stats.evidence",
    "triage": "flatspot.stats.triage.loop",
    "watch": "flatspot.training.watch.wrap",
}
_NAMESPACES = ("theory", "training")
_NEEDS = {"FlatspotCallback": "transformers", "WarmupCallback": "transformers"}  # names that are there only with an optional package


def _there() -> list[str]:
    """The public names that this installation can resolve."""
    from importlib.util import find_spec

    def found(package: str) -> bool:
        try:
            return find_spec(package) is not None
        except (ImportError, ValueError):
            return False

    missing = {name for name, package in _NEEDS.items() if not found(package)}
    return sorted({*_HOME, *_NAMESPACES, "__version__"} - missing)


def __getattr__(name: str) -> Any:
    if name == "__all__":  # on use, as it depends on what is installed: `from flatspot import *` takes every name of it
        return _there()
    if name == "__version__":
        from flatspot.core.provenance import package_version

        return package_version()
    if name in _NAMESPACES:
        return importlib.import_module(f"flatspot.{name}")
    if name not in _HOME:
        raise AttributeError(f"flatspot has no public name {name!r}; it offers: {', '.join(_there())}")
    if name not in _NEEDS:
        return getattr(importlib.import_module(_HOME[name]), name)
    from flatspot.core.errors import MissingExtra, MissingName

    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except MissingExtra as error:  # hasattr and inspect.getmembers take an AttributeError for a name that is not there
        raise MissingName(str(error)) from error


def __dir__() -> list[str]:
    return _there()
