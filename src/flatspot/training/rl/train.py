"""Reinforcement finetuning by TRL's GRPO and RLOO trainers, watched: `flatspot train`.

Everything about the training is TRL's: its options are handed on as they are, from flags and from a YAML file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatspot.core.answers import names_beside
from flatspot.core.errors import PromptFileError, RunFolderError, SettingsError
from flatspot.core.optional import require
from flatspot.core.records import Completion, Progress, Prompt, prompt_id
from flatspot.rewards import LoadedReward, check_reward, load_reward, reference_rewards
from flatspot.rewards.load import Component
from flatspot.rollouts.parts import parts_of
from flatspot.tasks import load_prompts
from flatspot.training.ranks import rank
from flatspot.training.telemetry import without_telemetry
from flatspot.training.trl_options import parse_options
from flatspot.training.watch.calls import columns_of
from flatspot.training.watch.resume import checkpoint_to_resume, last_checkpoint

ALGORITHMS = ("grpo", "rloo")
_OF_A_MODEL = ("config.json", "adapter_config.json", "*.safetensors", "*.bin", "checkpoint-*")


@dataclass(frozen=True)
class Trained:
    """A training that ran to its end: its run folder, its checkpoint, the alarms raised, if this process speaks for all, its updates."""

    folder: Path
    checkpoint: Path
    alarms: Sequence[Mapping[str, Any]]
    is_main: bool
    steps: int = 0


def train(
    prompts: Any,
    model: str | None,
    reward: Any,
    *,
    out: str | Path,
    algorithm: str = "grpo",
    options: Sequence[str] = (),
    config: str | Path | None = None,
    prompt_col: str = "prompt",
    limit: int | None = None,
    reward_timeout_s: float = 10.0,
) -> Trained:
    """Train a policy with TRL on prompts and rewards given as `diagnose` takes them.

    model      a hub name, a folder, or a GGUF file; None: model_name_or_path of the options
    out        the run folder; the policy is saved in its trainer/, or in the options' output_dir. One that holds a training is taken only
               with --resume_from_checkpoint
    algorithm  "grpo" or "rloo"
    options    TRL's own flags, as text: GRPOConfig's or RLOOConfig's, and ModelConfig's (PEFT, quantisation)
    config     a YAML file with the same names; flags win over it

    Raises `FlatspotError` for what the user can mend, before anything is trained.
    """
    require("trl", extra="train", purpose="flatspot train")
    if algorithm not in ALGORITHMS:
        raise SettingsError(f"the algorithm must be {' or '.join(ALGORITHMS)}, got {algorithm!r}")
    folder = Path(out)
    rows = load_prompts(prompts, prompt_col=prompt_col, limit=limit)
    settings, model_settings = parse_options(_config_class(algorithm), options, config, folder / "trainer")
    resumed = checkpoint_to_resume(settings.resume_from_checkpoint, Path(settings.output_dir))
    settings.resume_from_checkpoint = None if resumed is None else str(resumed)
    if resumed is None and rank() == 0:
        _check_no_training(folder, Path(settings.output_dir))
    policy = _policy(model or model_settings.model_name_or_path)
    # TRL calls rewards with whole groups, which one that compares completions is right with
    groups = settings.num_generations
    with load_reward(reward, weights=settings.reward_weights, timeout_s=reward_timeout_s, group_size=groups) as loaded:
        check_reward(loaded, rows)
        return _train(algorithm, rows, policy, loaded, settings, model_settings, folder)


def check_settings(algorithm: str, config: Path, output_dir: Path) -> None:
    """Raise `SettingsError` for options that TRL does not take; nothing is trained, and no model is loaded."""
    require("trl", extra="train", purpose="flatspot run")
    parse_options(_config_class(algorithm), (), config, output_dir)


def _config_class(algorithm: str) -> Any:
    import trl

    return trl.GRPOConfig if algorithm == "grpo" else trl.RLOOConfig


def _train(
    algorithm: str, rows: Sequence[Prompt], policy: str, loaded: LoadedReward, settings: Any, model_settings: Any, folder: Path
) -> Trained:
    import trl

    from flatspot.training.watch.callback import FlatspotCallback
    from flatspot.training.watch.wrap import recorder_of, watch
    from flatspot.verdicts.ranges import usable_range

    watched = watch([_reward_function(component) for component in loaded.components], out=folder, reward_range=usable_range(loaded.range))
    recorder = recorder_of(watched)
    assert recorder is not None
    references = reference_rewards(loaded, rows)
    recorder.references = {prompt_id(row.text): value for row, value in zip(rows, references, strict=True)}
    recorder.live.reachable = max((value for value in references if value is not None), default=-math.inf)
    callback = FlatspotCallback(watched)
    settings.model_init_kwargs = {
        "revision": model_settings.model_revision,
        "attn_implementation": model_settings.attn_implementation,
        "dtype": model_settings.dtype,
    } | (settings.model_init_kwargs or {})
    with without_telemetry():
        trainer = (trl.GRPOTrainer if algorithm == "grpo" else trl.RLOOTrainer)(
            model=policy,
            reward_funcs=watched,
            args=settings,
            train_dataset=_dataset(rows),
            peft_config=trl.get_peft_config(model_settings),
            quantization_config=trl.get_quantization_config(model_settings),
            callbacks=[callback],
        )
    trainer.train(resume_from_checkpoint=settings.resume_from_checkpoint)
    trainer.save_model(settings.output_dir)
    trainer.accelerator.wait_for_everyone()  # every process has written its rows
    is_main = bool(trainer.accelerator.is_main_process)
    if hasattr(trainer, "end"):
        trainer.end()
    recorder.release()
    return Trained(folder, Path(settings.output_dir), callback.history, is_main, int(trainer.state.global_step))


def _check_no_training(folder: Path, trainer: Path) -> None:
    """Refuse folders that this training would mix up: a run with the rows of another one, and a place where another model is."""
    if not (folder / "run.json").exists() or not parts_of(folder):
        there = [file.name for pattern in _OF_A_MODEL for file in sorted(trainer.glob(pattern))]
        if there:
            raise RunFolderError(
                f"{trainer} holds a model or its checkpoints ({', '.join(there[:3])}), and the policy is saved there. Give another "
                f"{'--out' if trainer.parent == folder else '--output_dir'}, or move them away."
            )
        return
    saved = last_checkpoint(trainer)
    resume = f", or go on from its last checkpoint: --resume_from_checkpoint {saved[0]}" if saved else ""
    raise RunFolderError(f"{folder} holds the completions of a training already. Give another --out{resume}")


def _policy(model: str | None) -> str:
    """What TRL is to load; refused where TRL cannot train it."""
    from flatspot.engines.policy import locate
    from flatspot.engines.pretrained import config_of_weights

    if not model:
        raise SettingsError("no model is given: --model NAME, or model_name_or_path in the YAML file")
    source = locate(model)[0]
    config = config_of_weights(source)
    if getattr(config, "is_encoder_decoder", False):
        raise SettingsError(
            f"{model} is an encoder–decoder model ({config.model_type}), and TRL's trainers join prompt and completion into one sequence, "
            "which only causal models read. flatspot_paper.ppo.train trains such models."
        )
    return source


def _dataset(rows: Sequence[Prompt]) -> Any:
    import pyarrow as pa
    from datasets import Dataset

    names = names_beside((name for row in rows for name in row.columns), ("prompt",))  # --prompt-col says which column is the prompt
    try:
        return Dataset.from_list([{"prompt": row.text} | {kept: row.columns.get(name) for name, kept in names.items()} for row in rows])
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise PromptFileError(
            f"the prompts' columns cannot be made a table, as TRL needs it: {str(error).splitlines()[0]}. "
            "Give each column one type in all rows."
        ) from None


def _reward_function(component: Component) -> Any:
    """A loaded reward as TRL calls one; rows that fail are None, and say why in `flatspot_errors` of the function."""

    def score(prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **columns: Any) -> list[float | None]:
        call = {"prompts": prompts, "completions": completions, **columns}
        now = _progress(columns.get("trainer_state"))
        rows = [Prompt(prompt_id(prompt), prompt, columns_of(call, i) | now) for i, prompt in enumerate(prompts)]
        ids = completion_ids if completion_ids is not None else [()] * len(rows)
        texts = [text if isinstance(text, str) else "".join(str(m.get("content") or "") for m in text) for text in completions]
        several = [None if isinstance(text, str) or len(text) == 1 else tuple(text) for text in completions]  # tool calls and their answers
        given = [Completion(text, len(own), False, tuple(own), turns) for text, own, turns in zip(texts, ids, several, strict=True)]
        values = component.scores.score(rows, given)
        score.flatspot_errors = [None if v.error is None else f"{component.name}: {v.error}" for v in values]  # type: ignore[attr-defined]
        return [value.number for value in values]

    score.__name__ = component.name
    return score


def _progress(state: Any) -> dict[str, Any]:
    """Where the trainer is, for rewards that change over the training; they run in a process of their own, which cannot ask."""
    if state is None:
        return {}
    return {"trainer_state": Progress(int(state.global_step), max(int(state.max_steps), 1), float(state.epoch or 0.0))}
