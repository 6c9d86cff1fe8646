"""Tiny, real TRL runs, each with one fault built in, and healthy ones. Used by the tests here and by benchmarks/watch/faults.py."""

from __future__ import annotations

import contextlib
import math
import random
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOCABULARY, EOS = 64, 2
ENDS = (EOS, *range(57, 64))  # so that a random policy ends most answers by itself
STEPS = 16


def tiny_policy(seed: int = 0):
    """A random llama of 50,000 parameters over the words w3 … w63, and its tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(seed)
    words = {"<pad>": 0, "<unk>": 1, "<eos>": EOS, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, initializer_range=0.2, eos_token_id=EOS, pad_token_id=0, bos_token_id=1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.eos_token_id = list(ENDS)
    return model, tokenizer


def half(completions, **columns):
    """About half of the completions earn 1, whatever the prompt."""
    return [float(zlib.crc32(text.encode()) % 2) for text in completions]


def even_words(completions, **columns):
    """A share: words with an even number."""
    return [sum(int(word[1:]) % 2 == 0 for word in text.split()) / max(len(text.split()), 1) for text in completions]


def never(completions, **columns):
    return [0.0] * len(completions)


def always(completions, **columns):
    return [1.0] * len(completions)


def indifferent(completions, **columns):
    return [0.5] * len(completions)


def unparsed(completions, **columns):
    return [None if "answer:" not in text else 1.0 for text in completions]


def crashes_often(completions, **columns):
    return [math.nan if zlib.crc32(text.encode()) % 3 == 0 else half([text])[0] for text in completions]


def large(completions, **columns):
    return [10.0 + 5 * value for value in even_words(completions)]


def finished_and_long(completions, completion_ids, **columns):
    return [float(ids[-1] in ENDS and len(ids) > 6) for ids in completion_ids]


def by_prompt(prompts, **columns):
    return [float(int(text.split()[0][1:]) % 2) for text in prompts]


def of_text(completions, **columns):
    return [zlib.crc32(text.encode()) % 1000 / 1000 for text in completions]


_RANDOM = random.Random(0)


def dice(completions, **columns):
    return [_RANDOM.random() for _ in completions]


async def half_later(completions, **columns):
    return half(completions)


@dataclass(frozen=True)
class Case:
    """One run: its rewards, settings of the trainer, and the cause that must be named; None for a healthy run."""

    name: str
    cause: str | None
    rewards: tuple[Any, ...] = (half,)
    algorithm: str = "grpo"
    settings: dict[str, Any] = field(default_factory=dict)
    broken: str | None = None
    reference: float | None = None


FAULTS = (
    Case("task out of reach", "all-low", (never,)),
    Case("task out of reach, RLOO with a KL penalty", "all-low", (never,), "rloo", {"beta": 0.05}),
    Case("prompts already solved", "all-high", (always,)),
    Case("reward ignores the answer", "constant-reward", (indifferent,)),
    Case("answer not parsed: None", "unparsed-reward", (unparsed,)),
    Case("answer not parsed: references earn 0 too", "unparsed-reward", (never,), reference=0.0),
    Case("temperature near 0", "duplicated-completions", (of_text,), settings={"temperature": 1e-3}),
    Case("answers cut by the token limit", "truncation", (finished_and_long,), settings={"max_completion_length": 4}),
    Case("cut answers masked out of the loss", "masked-truncation", (half,),
         settings={"max_completion_length": 1, "mask_truncated_completions": True}),
    Case("learning rate 0", "zero-learning-rate", settings={"learning_rate": 0.0}),
    Case("ratio clipped at once", "everything-clipped", settings={"num_iterations": 8, "epsilon": 1e-6, "learning_rate": 1e-2}),
    Case("loss is NaN", "nan-loss", broken="nan"),
    Case("loss detached", "blocked-gradient", broken="detached"),
    Case("only the format reward varies", "shaping-only", (never, even_words), settings={"reward_weights": [1.0, 0.5]}),
    Case("reward fails on a third", "reward-failures", (crashes_often,)),
    Case("the reward that varies has weight 0", "zero-weights", (half, always), settings={"reward_weights": [0.0, 1.0]}),
    Case("reward_clip_range too narrow", "reward-cut", (large,), "rloo", {"reward_clip_range": (-1.0, 1.0)}),
    Case("solved or hopeless, nothing between", "all-low-or-high", (by_prompt,)),
    Case("a sampler that breaks up groups", "broken-groups", broken="sampler"),
    Case("random reward", "noisy-reward", (dice,), settings={"temperature": 1e-3}),
)  # fmt: skip

HEALTHY = (
    Case("0/1 reward", None),
    Case("a share as reward", None, (even_words,)),
    Case("two rewards, weighted", None, (half, even_words), settings={"reward_weights": [1.0, 0.5]}),
    Case("format solved, accuracy not", None, (half, always), settings={"reward_weights": [1.0, 0.2]}),
    Case("scaled by the batch", None, settings={"scale_rewards": "batch"}),
    Case("normalized one by one", None, (half, even_words), settings={"multi_objective_aggregation": "normalize_then_sum"}),
    Case("RLOO with a KL penalty", None, algorithm="rloo", settings={"beta": 0.05}),
    Case("two iterations a batch", None, settings={"num_iterations": 2}),
    Case("groups of two", None, settings={"num_generations": 2}),
    Case("asynchronous reward", None, (half_later,)),
)


def train(case: Case, out: Path, *, seed: int = 0, steps: int = STEPS, callbacks=(), **settings):
    """Run a case; returns (trainer, callback, what ended it early)."""
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    import flatspot

    trainer_class, config_class = (GRPOTrainer, GRPOConfig) if case.algorithm == "grpo" else (RLOOTrainer, RLOOConfig)
    model, tokenizer = tiny_policy(seed)
    if case.algorithm == "rloo":  # TRL loads the reference policy by its name
        model.save_pretrained(out.with_name(out.name + "-policy"))
        model = type(model).from_pretrained(out.with_name(out.name + "-policy"), dtype=torch.float32)
    watched = flatspot.watch(list(case.rewards), out=out)
    callback = flatspot.FlatspotCallback(watched)
    usual = {
        "output_dir": str(out.with_name(out.name + "-trl")), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "max_steps": steps, "seed": seed,
        "per_device_train_batch_size": 32, "num_generations": 4, "max_completion_length": 16, "learning_rate": 1e-4,
    }  # fmt: skip
    data = Dataset.from_list([{"prompt": f"w{i} w{j}"} for i in range(10, 26) for j in (3, 4)])
    trainer = _broken(trainer_class, case.broken)(
        model=model,
        processing_class=tokenizer,
        reward_funcs=watched,
        args=config_class(**(usual | case.settings | settings)),
        train_dataset=data,
        callbacks=[callback, *callbacks],
    )
    if case.reference is not None:
        from flatspot.core.records import prompt_id

        callback.recorder.references = {prompt_id(row["prompt"]): case.reference for row in data}
    ended = None
    with contextlib.redirect_stdout(None):
        try:
            trainer.train()
        except RuntimeError as error:  # after a NaN update sampling fails
            ended = error
    return trainer, callback, ended


def _broken(trainer_class, how):
    import torch

    class Nan(trainer_class):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs) * (math.nan if self.state.global_step >= 5 else 1.0)

    class Detached(trainer_class):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs) * 0.0

    class Sampler(trainer_class):
        def _get_train_sampler(self, dataset=None):
            return torch.utils.data.RandomSampler(self.train_dataset, replacement=True, num_samples=4096)

    return {None: trainer_class, "nan": Nan, "detached": Detached, "sampler": Sampler}[how]
