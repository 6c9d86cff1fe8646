"""What a training on several processes cannot do, refused before anything is drawn or learned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flatspot.core.errors import SettingsError
from flatspot.training.ranks import launched

if TYPE_CHECKING:
    from transformers import TrainingArguments

WATCH = "flatspot watch-checkpoints DIR --run RUN"


def refuse_unfit(settings: TrainingArguments, *, probed: bool = False) -> None:
    """Raise `SettingsError` for a way to train on several processes that would fail later, or would not be what was asked for.

    probed  whether one process samples the policy in training, as the probes of a warm-up do
    """
    found = int(settings.world_size)
    if launched() > 1 and found != launched():
        raise SettingsError(
            f"the launcher started {launched()} processes, and the trainer sees {found}: each would train by itself, into the same folder. "
            "Without a GPU the processes find one another only with --use_cpu: add it"
        )
    version = _fsdp_version(settings)
    if version:
        _refuse_fsdp(settings, version)
    how = "FSDP" if version else "DeepSpeed ZeRO-3" if _is_zero3() else ""
    if how and probed:
        raise sharded_error(how)
    if how == "DeepSpeed ZeRO-3" and not _gathers_weights():
        raise SettingsError(
            "DeepSpeed ZeRO-3 would save the shards of the processes, and no policy that can be loaded. Launch with "
            "--zero3_save_16bit_model true; in a DeepSpeed config: stage3_gather_16bit_weights_on_model_save"
        )


def sharded_error(how: str) -> SettingsError:
    """The error for a policy of which a process has only a part."""
    return SettingsError(
        f"the model is sharded over processes ({how}), so no single process can sample it. Train with --no-stop and --save_strategy steps, "
        f"or with your own trainer, and probe the checkpoints in a separate process: {WATCH}"
    )


def _refuse_fsdp(settings: TrainingArguments, version: int) -> None:
    if settings.device.type == "cpu":
        happens = "ends in an error of its plugin" if version == 1 else "is silently DDP, with the whole model in every process"
        raise SettingsError(
            f"accelerate shards a model with FSDP on GPUs only: on CPUs FSDP{version} {happens}. For DDP launch with --multi_gpu "
            "--num_processes N instead of --use_fsdp; that flag serves CPUs, too"
        )
    if _state_dict_type(settings, version) != "FULL_STATE_DICT":
        raise SettingsError(
            "FSDP with this state dict type saves no policy that can be loaded. Launch with --fsdp_state_dict_type FULL_STATE_DICT"
        )


def _fsdp_version(settings: TrainingArguments) -> int:
    """Which FSDP was asked for, of the trainer or of accelerate; 0 for none."""
    if settings.fsdp:
        return int((settings.fsdp_plugin_args or {}).get("fsdp_version", 2))
    return int(os.environ.get("FSDP_VERSION", "1")) if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" else 0


def _state_dict_type(settings: TrainingArguments, version: int) -> str:
    default = "FULL_STATE_DICT" if version == 1 else "SHARDED_STATE_DICT"  # of accelerate
    own = (settings.fsdp_plugin_args or {}).get("state_dict_type") if settings.fsdp else None
    return str(own or os.environ.get("FSDP_STATE_DICT_TYPE", default)).upper()


def _is_zero3() -> bool:
    from transformers.integrations import is_deepspeed_zero3_enabled

    return bool(is_deepspeed_zero3_enabled())


def _gathers_weights() -> bool:
    from transformers.integrations import deepspeed_config

    zero = (deepspeed_config() or {}).get("zero_optimization", {})
    return zero.get("stage3_gather_16bit_weights_on_model_save") in (True, "true")
