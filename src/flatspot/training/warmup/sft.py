"""Supervised finetuning: TRL's SFTTrainer for causal models, transformers' Seq2SeqTrainer for encoder–decoder ones.

The training itself is theirs: options are passed on unchanged, from flags and from a YAML file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import FlatspotError, SettingsError, TrainingError
from flatspot.core.optional import require
from flatspot.core.plain import Json
from flatspot.training.folders import own_folder
from flatspot.training.inputs import LabeledRow, ModelSource
from flatspot.training.parallel import refuse_unfit
from flatspot.training.ranks import together
from flatspot.training.telemetry import without_telemetry
from flatspot.training.trl_options import option_names_in, parse_options
from flatspot.training.warmup.checkpoints import WARMUP, WARMUP_NAMES, is_older_warmup, merge_adapter, move_folder, or_nothing, write_folder
from flatspot.training.warmup.examples import Reader, examples, reader_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from trl import ModelConfig

Rows = Sequence[LabeledRow]


@dataclass(frozen=True)
class Learner:
    """A trainer ready to start, and the reader of its prompts.

    base  the name or folder of the model; None for one in memory
    """

    trainer: Trainer
    reader: Reader
    base: str | None


def sft(
    rows: Rows,
    model: ModelSource,
    *,
    out: str | Path,
    options: Sequence[str] = (),
    config: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    eval_rows: Rows = (),
    template_kwargs: Mapping[str, Json] | None = None,
) -> Path:
    """Finetune a model on labeled prompts; returns the folder of the finetuned model and its tokenizer.

    rows       {"prompt": text or chat messages, "completion": text}; only the completion has a loss
    model      a hub name, a folder, a GGUF file, a LoRA adapter (merged), or a pair (model, tokenizer)
    out        the model is written to out/policy, the trainer's own files to out/trainer or the options' output_dir; a folder with a policy
               that flatspot did not write is refused
    options    the trainer's own flags, as text: SFTConfig's or Seq2SeqTrainingArguments', and TRL's ModelConfig's (PEFT, quantization)
    config     a YAML file with the same names; flags take precedence
    callbacks  transformers callbacks
    eval_rows  held-out rows, whose loss the trainer reports according to its options

    template_kwargs    values for the chat template, with every prompt of messages

    With PEFT the adapter is merged into its base in out/policy, and saved in out/adapter. Raises `FlatspotError`, before the training
    starts, for any error that the user can fix; `TrainingError` if the loss is not finite, in which case out/policy does not change.
    """
    out, finite = Path(out), finite_callback()
    with own_folder(out, WARMUP, WARMUP_NAMES, is_older_warmup):
        learner = make_learner(
            rows,
            model,
            out=out,
            options=options,
            config=config,
            callbacks=[finite, *callbacks],
            eval_rows=eval_rows,
            template_kwargs=template_kwargs,
        )
        return _finetune(learner, out, finite)


def _finetune(learner: Learner, out: Path, finite: TrainerCallback) -> Path:
    learner.trainer.train(resume_from_checkpoint=learner.trainer.args.resume_from_checkpoint)
    if finite.broken:
        raise TrainingError(f"{finite.broken}. Lower --learning_rate, or train in float32. Nothing was saved.")
    return save_learner(learner, out)


def make_learner(
    rows: Rows,
    model: ModelSource,
    *,
    out: Path,
    options: Sequence[str] = (),
    config: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    eval_rows: Rows = (),
    probed: bool = False,
    template_kwargs: Mapping[str, Json] | None = None,
) -> Learner:
    """The trainer of `sft`, not yet started; `probed`: its policy is going to be sampled in training."""
    trl = require("trl", extra="train", purpose="supervised finetuning")
    require("datasets", extra="train", purpose="supervised finetuning")
    import transformers

    if not rows:
        raise SettingsError("there are no labeled prompts to train on")
    loaded, reader, base = _source(model, template_kwargs or {})
    kind = transformers.Seq2SeqTrainingArguments if reader.encoder_decoder else trl.SFTConfig
    settings, model_settings = parse_options(kind, _with_defaults(options, config), config, out / "trainer")
    refuse_unfit(settings, probed=probed)
    if not (reader.encoder_decoder or settings.packing or "max_length" in option_names_in(options, config)):
        settings.max_length = None  # TRL's default silently truncates to 1024 tokens
    training, held_out = examples(rows, reader), examples(eval_rows, reader)
    if not reader.encoder_decoder and settings.completion_only_loss is False:
        training, held_out = ([{"input_ids": row["input_ids"]} for row in part] for part in (training, held_out))
    make = _seq2seq_trainer if reader.encoder_decoder else _causal_trainer
    try:
        with without_telemetry():
            trainer = make(loaded or base, reader, settings, model_settings, _dataset(training), _dataset(held_out), list(callbacks))
    except ValueError as error:
        raise SettingsError(f"the trainer rejects these options: {str(error).strip().splitlines()[0]}") from error
    return Learner(trainer, reader, base)


def save_learner(learner: Learner, out: Path) -> Path:
    """Write the current model to out/policy, completely or not at all; every process must call it."""
    from flatspot.engines.model_folder import is_adapter

    trainer, fresh = learner.trainer, out / ".policy.flatspot-saved"
    with together(OSError, FlatspotError), or_nothing(fresh, out / "policy"):
        trainer.accelerator.wait_for_everyone()
        trainer.save_model(str(fresh))
    with together():
        if trainer.args.should_save:
            (fresh / "training_args.bin").unlink(missing_ok=True)  # a pickle, which is unsafe to load and not needed
            if is_adapter(fresh):
                move_folder(fresh, out / "adapter")
                write_folder(out / "policy", lambda folder: merge_adapter(out / "adapter", folder))
            else:
                move_folder(fresh, out / "policy")
    return out / "policy"


def _source(model: ModelSource, values: Mapping[str, Json]) -> tuple[PreTrainedModel | None, Reader, str | None]:
    """(the model if it is already loaded, the reader of its prompts, the name or folder for the trainer to load)."""
    import transformers

    from flatspot.engines.model_folder import is_adapter
    from flatspot.engines.policy import load_policy, locate
    from flatspot.engines.pretrained import config_of_weights, tokenizer_of

    name = None if isinstance(model, tuple) else locate(str(model))[0]
    if name is None or is_adapter(Path(name)):
        policy = load_policy(model, device="cpu") if name else load_policy(model)
        reader = Reader(policy.name, policy.tokenizer, policy.encoder_decoder, policy.eos_ids, policy.context, policy.vocabulary, values)
        return policy.model, reader, None
    config, tokenizer = config_of_weights(name), tokenizer_of(name)
    try:
        generation = transformers.GenerationConfig.from_pretrained(name)
    except (OSError, ValueError):
        generation = None
    return None, reader_of(str(model), config, generation, tokenizer, values), name


def _with_defaults(options: Sequence[str], config: str | Path | None) -> list[str]:
    """The options with our defaults for those that the user did not set: no checkpoints with optimizer states, no NaN hidden."""
    defaults = {"save_strategy": "no", "logging_nan_inf_filter": "false", "report_to": "none"}
    names = option_names_in(options, config)
    return [*options, *(part for name, value in defaults.items() if name not in names for part in (f"--{name}", value))]


def _causal_trainer(
    model: PreTrainedModel | str,
    reader: Reader,
    settings: TrainingArguments,
    model_settings: ModelConfig,
    data: Dataset | None,
    held_out: Dataset | None,
    callbacks: list[TrainerCallback],
) -> Trainer:
    import trl

    if isinstance(model, str):
        settings.model_init_kwargs = {
            "revision": model_settings.model_revision,
            "attn_implementation": model_settings.attn_implementation,
            "dtype": model_settings.dtype,
        } | (settings.model_init_kwargs or {})
    return trl.SFTTrainer(
        model=model,
        args=settings,
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=reader.tokenizer,
        peft_config=trl.get_peft_config(model_settings),
        quantization_config=trl.get_quantization_config(model_settings) if isinstance(model, str) else None,
        callbacks=callbacks,
    )


def _seq2seq_trainer(
    model: PreTrainedModel | str,
    reader: Reader,
    settings: TrainingArguments,
    model_settings: ModelConfig,
    data: Dataset | None,
    held_out: Dataset | None,
    callbacks: list[TrainerCallback],
) -> Trainer:
    import transformers
    import trl

    if isinstance(model, str):
        loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            model,
            revision=model_settings.model_revision,
            attn_implementation=model_settings.attn_implementation,
            dtype=model_settings.dtype,
            quantization_config=trl.get_quantization_config(model_settings),
        )
    else:
        loaded = model
    if (adapter := trl.get_peft_config(model_settings)) is not None:
        import peft

        adapter.task_type = "SEQ_2_SEQ_LM"
        loaded = peft.get_peft_model(loaded, adapter)
    return transformers.Seq2SeqTrainer(
        model=loaded,
        args=settings,
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=reader.tokenizer,
        data_collator=transformers.DataCollatorForSeq2Seq(reader.tokenizer, model=loaded),
        callbacks=callbacks,
    )


def _dataset(rows: Sequence[Mapping[str, Sequence[int]]]) -> Dataset | None:
    from datasets import Dataset

    return Dataset.from_list([dict(row) for row in rows]) if rows else None


def not_finite(logs: Mapping[str, float] | None) -> str | None:
    """Which number of a trainer's log entry is not finite, the loss or the gradient's norm; None if both are.

    >>> not_finite({"loss": 0.5, "grad_norm": float("nan")}), not_finite({"loss": 0.5, "epoch": 1.0})
    ("the gradient's norm is nan", None)
    """
    for name, what in (("loss", "the loss"), ("grad_norm", "the gradient's norm")):
        value = (logs or {}).get(name)
        if value is not None and not math.isfinite(float(value)):
            return f"{what} is {float(value)}"
    return None


def finite_callback() -> TrainerCallback:
    """A callback that stops a training whose loss or gradient is not finite; its `broken` is then the reason, else empty."""
    import transformers

    class Finite(transformers.TrainerCallback):  # type: ignore[misc]  # mypy does not follow transformers
        """See `finite_callback`."""

        broken = ""

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float] | None = None,
            **_: object,
        ) -> None:
            """Check the numbers in the trainer's log."""
            if problem := not_finite(logs):
                self.broken = f"{problem} at step {state.global_step}"
                control.should_training_stop = True

    return Finite()
