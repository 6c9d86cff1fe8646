"""The names of the options that TRL's and transformers' trainers take, for recipes to be checked before anything runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flatspot.core.optional import require


def option_names(kind: str) -> list[str]:
    """The options of "sft" (a causal or an encoder–decoder model), "grpo" or "rloo", sorted.

    >>> {"learning_rate", "max_steps", "lora_r", "num_generations"} <= set(option_names("grpo"))
    True
    """
    trl = require("trl", extra="train", purpose="flatspot run")
    import transformers

    configs: dict[str, tuple[Any, ...]] = {
        "sft": (trl.SFTConfig, transformers.Seq2SeqTrainingArguments),
        "grpo": (trl.GRPOConfig,),
        "rloo": (trl.RLOOConfig,),
    }
    return sorted({f.name for config in (*configs[kind], trl.ModelConfig) for f in fields(config)})


def start_afresh(seed: int) -> None:
    """Set every random state that a library may draw from, so that a stage gives the same whatever ran before it in this process."""
    import transformers

    transformers.set_seed(seed)
