"""Trainings: watching one (`watch`), SFT on a few labels (`warmup`), and RL through TRL (`rl`). Names are imported on first use.

FlatspotCallback   a callback for TRL's RL trainers, to be used with `flatspot.watch`
WarmupCallback     a callback that ends a supervised training once RL can take over
train              RL by TRL's GRPO or RLOO trainer, watched
sft                supervised finetuning on labeled prompts
watch_checkpoints  the stop rule over the checkpoints of any trainer
StopRule, choose   when to stop a warm-up, and which checkpoint to select; ProbeSettings: how to probe
read_labels        labeled prompts from a file or rows

The functions `warmup` and `watch` have the names of packages here: they are `flatspot.warmup` and `flatspot.watch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.core.on_first_use import on_first_use

if TYPE_CHECKING:
    from flatspot.training.rl.train import TrainResult as TrainResult
    from flatspot.training.rl.train import train as train
    from flatspot.training.warmup.callback import WarmupCallback as WarmupCallback
    from flatspot.training.warmup.labels import Labels as Labels
    from flatspot.training.warmup.labels import read_labels as read_labels
    from flatspot.training.warmup.probe import ProbeSettings as ProbeSettings
    from flatspot.training.warmup.run import WarmupResult as WarmupResult
    from flatspot.training.warmup.sft import sft as sft
    from flatspot.training.warmup.stop_rule import Choice as Choice
    from flatspot.training.warmup.stop_rule import StopRule as StopRule
    from flatspot.training.warmup.stop_rule import choose as choose
    from flatspot.training.warmup.watch_checkpoints import WatchResult as WatchResult
    from flatspot.training.warmup.watch_checkpoints import watch_checkpoints as watch_checkpoints
    from flatspot.training.watch.callback import FlatspotCallback as FlatspotCallback

_HOME = {
    "Choice": "warmup.stop_rule",
    "FlatspotCallback": "watch.callback",
    "Labels": "warmup.labels",
    "ProbeSettings": "warmup.probe",
    "StopRule": "warmup.stop_rule",
    "TrainResult": "rl.train",
    "WarmupCallback": "warmup.callback",
    "WarmupResult": "warmup.run",
    "WatchResult": "warmup.watch_checkpoints",
    "choose": "warmup.stop_rule",
    "read_labels": "warmup.labels",
    "sft": "warmup.sft",
    "train": "rl.train",
    "watch_checkpoints": "warmup.watch_checkpoints",
}
_NEEDS = dict.fromkeys(("FlatspotCallback", "WarmupCallback"), "transformers")
__getattr__, __dir__ = on_first_use(__name__, _HOME, _NEEDS)
