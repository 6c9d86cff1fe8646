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
    from flatspot.core.request import Request as Request
    from flatspot.core.settings import Settings as Settings
    from flatspot.engines.scripted import ScriptedEngine as ScriptedEngine
    from flatspot.flow.compare import Comparison as Comparison
    from flatspot.flow.compare import compare as compare
    from flatspot.flow.demo import demo as demo
    from flatspot.flow.diagnose import diagnose as diagnose
    from flatspot.flow.export import export as export
    from flatspot.flow.inspect import inspect as inspect
    from flatspot.flow.plan import Plan as Plan
    from flatspot.flow.plan import plan as plan
    from flatspot.flow.rescore import rescore as rescore
    from flatspot.planning.labels import LabelSettings as LabelSettings
    from flatspot.recipe.read import Recipe as Recipe
    from flatspot.recipe.run import run as run
    from flatspot.runs.run import Run as Run
    from flatspot.runs.run import open as open
    from flatspot.runs.summary import Summary as Summary
    from flatspot.stats.evidence import reward_std as reward_std
    from flatspot.stats.triage.loop import triage as triage
    from flatspot.stats.triage.result import Triage as Triage
    from flatspot.training.rl.train import train as train
    from flatspot.training.warmup.callback import WarmupCallback as WarmupCallback
    from flatspot.training.warmup.probe import ProbeSettings as ProbeSettings
    from flatspot.training.warmup.run import warmup as warmup
    from flatspot.training.warmup.stop_rule import StopRule as StopRule
    from flatspot.training.warmup.watch_checkpoints import watch_checkpoints as watch_checkpoints
    from flatspot.training.watch.callback import FlatspotCallback as FlatspotCallback
    from flatspot.training.watch.wrap import watch as watch

_HOME = {
    "Comparison": "flatspot.flow.compare",
    "Completion": "flatspot.core.records",
    "FlatspotCallback": "flatspot.training.watch.callback",
    "FlatspotError": "flatspot.core.errors",
    "LabelSettings": "flatspot.planning.labels",
    "Plan": "flatspot.flow.plan",
    "ProbeSettings": "flatspot.training.warmup.probe",
    "Prompt": "flatspot.core.records",
    "Recipe": "flatspot.recipe.read",
    "Request": "flatspot.core.request",
    "Run": "flatspot.runs.run",
    "Sampling": "flatspot.core.records",
    "ScriptedEngine": "flatspot.engines.scripted",
    "Settings": "flatspot.core.settings",
    "StopRule": "flatspot.training.warmup.stop_rule",
    "Summary": "flatspot.runs.summary",
    "Triage": "flatspot.stats.triage.result",
    "WarmupCallback": "flatspot.training.warmup.callback",
    "compare": "flatspot.flow.compare",
    "demo": "flatspot.flow.demo",
    "diagnose": "flatspot.flow.diagnose",
    "export": "flatspot.flow.export",
    "inspect": "flatspot.flow.inspect",
    "open": "flatspot.runs.run",
    "plan": "flatspot.flow.plan",
    "rescore": "flatspot.flow.rescore",
    "reward_std": "flatspot.stats.evidence",
    "run": "flatspot.recipe.run",
    "train": "flatspot.training.rl.train",
    "triage": "flatspot.stats.triage.loop",
    "warmup": "flatspot.training.warmup.run",
    "watch": "flatspot.training.watch.wrap",
    "watch_checkpoints": "flatspot.training.warmup.watch_checkpoints",
}
_NAMESPACES = ("theory", "training")
_NEEDS = dict.fromkeys(
    ("FlatspotCallback", "WarmupCallback", "watch_checkpoints"), "transformers"
)  # names that are there only with an optional package


def _public() -> list[str]:
    """The public names that this installation can resolve, but for `open`: `from flatspot import *` would hide Python's own."""
    from importlib.util import find_spec

    def is_installed(package: str) -> bool:
        try:
            return find_spec(package) is not None
        except (ImportError, ValueError):
            return False

    missing = {name for name, package in _NEEDS.items() if not is_installed(package)}
    return sorted({*_HOME, *_NAMESPACES, "__version__"} - missing - {"open"})


def __getattr__(name: str) -> Any:
    if name == "__all__":  # on use, as it depends on what is installed: `from flatspot import *` takes every name of it
        return _public()
    if name == "__version__":
        from flatspot.core.provenance import package_version

        return package_version()
    if name in _NAMESPACES:
        return importlib.import_module(f"flatspot.{name}")
    if name not in _HOME:
        raise AttributeError(f"flatspot has no public name {name!r}; it offers: {', '.join(_public())}")
    if name not in _NEEDS:
        return getattr(importlib.import_module(_HOME[name]), name)
    from flatspot.core.errors import MissingExtra, MissingName

    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except MissingExtra as error:  # hasattr and inspect.getmembers take an AttributeError for a name that is not there
        raise MissingName(str(error)) from error


def __dir__() -> list[str]:
    return _public()
