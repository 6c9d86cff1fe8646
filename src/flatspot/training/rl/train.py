"""Reinforcement finetuning by TRL's GRPO and RLOO trainers, watched: `flatspot train`.

The training itself is TRL's: its options are passed on unchanged, from flags and from a YAML file.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.answers import names_beside
from flatspot.core.errors import PromptFileError, RunFolderError, SettingsError
from flatspot.core.optional import require
from flatspot.core.records import Completion, Message, Prompt, PromptText, TrainingProgress, prompt_id
from flatspot.core.settings import Advantage
from flatspot.rewards import LoadedReward, check_reward, load_reward
from flatspot.rewards.load import Component, RewardSpec
from flatspot.rollouts.parts import parts_of
from flatspot.tasks import Source, load_prompts
from flatspot.training.parallel import refuse_unfit
from flatspot.training.ranks import rank, together
from flatspot.training.telemetry import without_telemetry
from flatspot.training.trl_options import parse_options
from flatspot.training.watch.calls import columns_of
from flatspot.training.watch.resume import checkpoint_to_resume, last_checkpoint

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerState
    from trl import GRPOConfig, ModelConfig, RLOOConfig

    from flatspot.training.watch.callback import AlarmEntry
    from flatspot.training.watch.wrap import RewardFunction

ALGORITHMS = ("grpo", "rloo")
_MODEL_FILES = ("config.json", "adapter_config.json", "*.safetensors", "*.bin", "checkpoint-*")


@dataclass(frozen=True)
class TrainResult:
    """A finished training.

    folder      the run folder
    checkpoint  the folder of the policy
    alarms      the alarms raised, as in watch.json
    is_main     whether this is the first process of a distributed training
    steps       number of updates
    advantage   how the trainer used rewards
    """

    folder: Path
    checkpoint: Path
    alarms: Sequence[AlarmEntry]
    is_main: bool
    steps: int = 0
    advantage: Advantage = "centered"


def train(
    prompts: Source,
    model: str | None,
    reward: RewardSpec | Sequence[RewardSpec],
    *,
    out: str | Path,
    algorithm: str = "grpo",
    options: Sequence[str] = (),
    config: str | Path | None = None,
    prompt_col: str = "prompt",
    prompt_template: str | None = None,
    limit: int | None = None,
    reward_timeout_s: float = 10.0,
) -> TrainResult:
    """Train a policy with TRL; prompts and rewards as for `diagnose`.

    model      a hub name, a folder, also one with a LoRA adapter (merged into its base), or a GGUF file; None: the options'
               model_name_or_path
    out        the run folder; the policy is saved in its trainer/, or in the options' output_dir. An existing training is only continued
               with --resume_from_checkpoint
    algorithm  "grpo" or "rloo"
    options    TRL's own flags, as text: GRPOConfig's or RLOOConfig's, and ModelConfig's (PEFT, quantization)
    config     a YAML file with the same names; flags take precedence

    Raises `FlatspotError`, before the training starts, for any error that the user can fix.
    """
    require("trl", extra="train", purpose="flatspot train")
    if algorithm not in ALGORITHMS:
        raise SettingsError(f"the algorithm must be {' or '.join(ALGORITHMS)}, got {algorithm!r}")
    folder = Path(out)
    settings, model_settings = parse_options(_config_class(algorithm), options, config, folder / "trainer")
    refuse_unfit(settings)
    with ExitStack() as rewards:
        with together():  # a file may be missing on one machine, and only the first process looks at the folders
            rows = load_prompts(prompts, prompt_col=prompt_col, limit=limit, template=prompt_template)
            checkpoint = checkpoint_to_resume(settings.resume_from_checkpoint, Path(settings.output_dir))
            settings.resume_from_checkpoint = None if checkpoint is None else str(checkpoint)
            if checkpoint is None and rank() == 0:
                _check_folders(folder, Path(settings.output_dir))
            policy = _policy(model or model_settings.model_name_or_path)
            # TRL calls rewards with complete groups, so a reward may compare completions
            groups = settings.num_generations
            loaded = rewards.enter_context(
                load_reward(reward, weights=settings.reward_weights, timeout_s=reward_timeout_s, group_size=groups)
            )
            check_reward(loaded, rows)
        return _train(algorithm, rows, policy, loaded, settings, model_settings, folder)


def check_settings(algorithm: str, config: Path, output_dir: Path) -> None:
    """Raise `SettingsError` for options that TRL rejects; trains nothing and loads no model."""
    require("trl", extra="train", purpose="flatspot run")
    parse_options(_config_class(algorithm), (), config, output_dir)


def _config_class(algorithm: str) -> type[GRPOConfig | RLOOConfig]:
    import trl

    kind: type[GRPOConfig | RLOOConfig] = trl.GRPOConfig if algorithm == "grpo" else trl.RLOOConfig
    return kind


def _train(
    algorithm: str,
    rows: Sequence[Prompt],
    policy: str,
    loaded: LoadedReward,
    settings: GRPOConfig | RLOOConfig,
    model_settings: ModelConfig,
    folder: Path,
) -> TrainResult:
    import trl

    from flatspot.training.watch.callback import FlatspotCallback
    from flatspot.training.watch.wrap import recorder_of, watch
    from flatspot.verdicts.ranges import usable_range

    with together():
        functions = [_reward_function(component) for component in loaded.components]
        watched = watch(functions, out=folder, reward_range=usable_range(loaded.range))
        data = _dataset(rows)
    recorder = recorder_of(watched)
    if recorder is None:
        raise RuntimeError("nothing is watched")
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
            train_dataset=data,
            peft_config=trl.get_peft_config(model_settings),
            quantization_config=trl.get_quantization_config(model_settings),
            callbacks=[callback],
        )
    trainer.train(resume_from_checkpoint=settings.resume_from_checkpoint)
    with together(OSError):  # a full disk
        trainer.save_model(settings.output_dir)
        recorder.release()
    is_main = bool(trainer.accelerator.is_main_process)
    advantage: Advantage = "normalized" if recorder.live.scoring.normalized else "centered"
    return TrainResult(folder, Path(settings.output_dir), callback.history, is_main, int(trainer.state.global_step), advantage)


def _check_folders(folder: Path, trainer: Path) -> None:
    """Refuse a run folder with the rows of another training, and a trainer's folder with another model."""
    if not (folder / "run.json").exists() or not parts_of(folder):
        files = [file.name for pattern in _MODEL_FILES for file in sorted(trainer.glob(pattern))]
        if files:
            raise RunFolderError(
                f"{trainer} contains a model or its checkpoints ({', '.join(files[:3])}), and the policy is saved there. Give another "
                f"{'--out' if trainer.parent == folder else '--output_dir'}, or move them."
            )
        return
    saved = last_checkpoint(trainer)
    resume = f", or resume from its last checkpoint: --resume_from_checkpoint {saved[0]}" if saved else ""
    raise RunFolderError(f"{folder} already contains the completions of a training. Give another --out{resume}")


def _policy(model: str | None) -> str:
    """The folder or hub name for TRL to load, of an adapter that of the merged model; SettingsError if TRL cannot train it."""
    from flatspot.engines.model_folder import is_adapter
    from flatspot.engines.policy import locate
    from flatspot.engines.pretrained import config_of_weights
    from flatspot.training.warmup.checkpoints import merged_folder

    if not model:
        raise SettingsError("no model is set: use --model NAME, or model_name_or_path in the YAML file")
    source = locate(model)[0]
    if is_adapter(Path(source)):
        source = str(merged_folder(Path(source)))
    config = config_of_weights(source)
    if getattr(config, "is_encoder_decoder", False):
        raise SettingsError(
            f"{model} is an encoder–decoder model ({config.model_type}), and TRL's trainers concatenate prompt and completion, which only "
            "works for causal models. flatspot_paper.train_ppo trains such models."
        )
    return source


def _dataset(rows: Sequence[Prompt]) -> Dataset:
    import pyarrow as pa
    from datasets import Dataset

    # a column `prompt` may exist beside the one of --prompt-col
    names = names_beside((name for row in rows for name in row.columns), ("prompt",))
    try:
        return Dataset.from_list([{"prompt": row.text} | {column: row.columns.get(name) for name, column in names.items()} for row in rows])
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise PromptFileError(
            f"the prompts' columns cannot be converted to a table, which TRL needs: {str(error).splitlines()[0]}. "
            "Use one type per column in all rows."
        ) from None


def _reward_function(component: Component) -> RewardFunction:
    """A loaded reward with TRL's signature; failed rows are None, with the reason in the function's attribute `flatspot_errors`."""

    def score(
        prompts: Sequence[PromptText],
        completions: Sequence[str | Sequence[Message]],
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: TrainerState | None = None,
        **columns: object,
    ) -> list[float | None]:
        call = {"prompts": prompts, "completions": completions, **columns}
        now = _progress(trainer_state)
        rows = [Prompt(prompt_id(prompt), prompt, {**columns_of(call, i), **now}) for i, prompt in enumerate(prompts)]
        ids: Sequence[Sequence[int]] = completion_ids if completion_ids is not None else [()] * len(rows)
        texts = [text if isinstance(text, str) else "".join(str(m.get("content") or "") for m in text) for text in completions]
        several = [None if isinstance(text, str) or len(text) == 1 else tuple(text) for text in completions]  # tool calls and their answers
        scored = [Completion(text, len(own), False, tuple(own), turns) for text, own, turns in zip(texts, ids, several, strict=True)]
        values = component.scores.score(rows, scored)
        vars(score)["flatspot_errors"] = [None if v.error is None else f"{component.name}: {v.error}" for v in values]
        return [value.number for value in values]

    score.__name__ = component.name
    return score


def _progress(state: TrainerState | None) -> dict[str, TrainingProgress]:
    """The trainer's progress as a column, for rewards that depend on it; they run in another process, without access to the trainer."""
    if state is None:
        return {}
    return {"trainer_state": TrainingProgress(int(state.global_step), max(int(state.max_steps), 1), float(state.epoch or 0.0))}
