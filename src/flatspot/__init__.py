"""flatspot finds the prompts that a reinforcement-finetuning run cannot learn from, before anyone pays for the run.

Names resolve on first use, so `import flatspot` loads neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

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
    from flatspot.flow.follow import follow as follow
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
    from flatspot.training.record.wrap import record as record
    from flatspot.training.rl.train import train as train
    from flatspot.training.warmup.callback import WarmupCallback as WarmupCallback
    from flatspot.training.warmup.probe import ProbeSettings as ProbeSettings
    from flatspot.training.warmup.run import warmup as warmup
    from flatspot.training.warmup.stop_rule import StopRule as StopRule
    from flatspot.training.warmup.watch_checkpoints import watch_checkpoints as watch_checkpoints
    from flatspot.training.watch.callback import FlatspotCallback as FlatspotCallback
    from flatspot.training.watch.wrap import watch as watch

_HOME = {
    "Comparison": "flow.compare",
    "Completion": "core.records",
    "FlatspotCallback": "training.watch.callback",
    "FlatspotError": "core.errors",
    "LabelSettings": "planning.labels",
    "Plan": "flow.plan",
    "ProbeSettings": "training.warmup.probe",
    "Prompt": "core.records",
    "Recipe": "recipe.read",
    "Request": "core.request",
    "Run": "runs.run",
    "Sampling": "core.records",
    "ScriptedEngine": "engines.scripted",
    "Settings": "core.settings",
    "StopRule": "training.warmup.stop_rule",
    "Summary": "runs.summary",
    "Triage": "stats.triage.result",
    "WarmupCallback": "training.warmup.callback",
    "compare": "flow.compare",
    "demo": "flow.demo",
    "diagnose": "flow.diagnose",
    "export": "flow.export",
    "follow": "flow.follow",
    "inspect": "flow.inspect",
    "open": "runs.run",
    "plan": "flow.plan",
    "record": "training.record.wrap",
    "rescore": "flow.rescore",
    "reward_std": "stats.evidence",
    "run": "recipe.run",
    "train": "training.rl.train",
    "triage": "stats.triage.loop",
    "warmup": "training.warmup.run",
    "watch": "training.watch.wrap",
    "watch_checkpoints": "training.warmup.watch_checkpoints",
}
_NAMESPACES = ("theory", "training")
# names that are there only with an optional package
_NEEDS = dict.fromkeys(("FlatspotCallback", "WarmupCallback"), "transformers")
_find, _names = on_first_use(__name__, _HOME, _NEEDS)


def __getattr__(name: str) -> object:
    if name == "__all__":  # on use, as it depends on what is installed
        return __dir__()
    if name == "__version__":
        from flatspot.core.provenance import package_version

        return package_version()
    return importlib.import_module(f"{__name__}.{name}") if name in _NAMESPACES else _find(name)


def __dir__() -> list[str]:
    """The public names that this installation can resolve, but for `open`: `from flatspot import *` would hide Python's own."""
    return sorted({*_names(), *_NAMESPACES, "__version__"} - {"open"})
