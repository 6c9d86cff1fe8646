"""The option names of TRL's and transformers' trainers, so that recipes can be checked before anything runs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from flatspot.core.optional import require

if TYPE_CHECKING:
    from transformers import TrainingArguments


def option_names(kind: str) -> list[str]:
    """The options of "sft" (a causal or an encoder–decoder model), "grpo" or "rloo", sorted.

    >>> {"learning_rate", "max_steps", "lora_r", "num_generations"} <= set(option_names("grpo"))
    True
    """
    trl = require("trl", extra="train", purpose="flatspot run")
    import transformers

    configs: dict[str, tuple[type[TrainingArguments], ...]] = {
        "sft": (trl.SFTConfig, transformers.Seq2SeqTrainingArguments),
        "grpo": (trl.GRPOConfig,),
        "rloo": (trl.RLOOConfig,),
    }
    return sorted({f.name for config in (*configs[kind], trl.ModelConfig) for f in fields(config)})


def start_afresh(seed: int) -> None:
    """Seed every random generator that a library may use, so that a stage's result does not depend on what ran before it in the process."""
    import transformers

    transformers.set_seed(seed)
