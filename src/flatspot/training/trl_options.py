"""Options of TRL and transformers from flags and a YAML file, read by TRL's own parser."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import SettingsError

if TYPE_CHECKING:
    from transformers import TrainingArguments
    from trl import ModelConfig

_CPU = "Without a GPU add: --use_cpu --bf16 false --gradient_checkpointing false"


def parse_options(
    config_class: type[TrainingArguments], options: Sequence[str], config: str | Path | None, output_dir: Path
) -> tuple[TrainingArguments, ModelConfig]:
    """(the trainer's settings, TRL's ModelConfig); the parser's errors are raised as SettingsError.

    output_dir  the trainer's folder if neither the flags nor the file set one
    """
    import trl

    options = [*options]
    if "output_dir" not in option_names_in(options, config):
        options += ["--output_dir", str(output_dir)]
    if config is not None:
        options = ["--config", str(config), *options]
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            settings, model_settings = trl.TrlParser((config_class, trl.ModelConfig), allow_abbrev=False).parse_args_and_config(options)
    except SystemExit:
        line = (messages.getvalue().strip().splitlines() or ["an option cannot be read"])[-1]
        raise SettingsError(f"TRL's {config_class.__name__} rejects these options: {line.partition('error: ')[2] or line}") from None
    except (ValueError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SettingsError(
            f"TRL's {config_class.__name__} rejects these options: {reason}{_did_you_mean(options, config_class)}{_cpu_hint(reason)}"
        ) from None
    _check(settings)
    return settings, model_settings


def _check(settings: TrainingArguments) -> None:
    """Reject values that the trainers accept but then fail on or ignore."""
    if settings.max_steps < 1 and settings.max_steps != -1:  # -1 is transformers' default: num_train_epochs decides
        raise SettingsError(f"max_steps must be at least 1, got {settings.max_steps}")
    if settings.per_device_train_batch_size < 1:
        raise SettingsError(f"per_device_train_batch_size must be at least 1, got {settings.per_device_train_batch_size}")


def option_names_in(options: Sequence[str], config: str | Path | None) -> frozenset[str]:
    """The names of the options that the user set, by a flag or in the file."""
    flags = {option.split("=")[0].lstrip("-").replace("-", "_") for option in options if option.startswith("--")}
    return frozenset(flags | set(_read_config(config)))


def flags_for(options: Sequence[str], config: str | Path | None, names: Sequence[str]) -> list[str]:
    """Flags that repeat the user's values of `names`, from the flags or the file; a flag takes precedence.

    >>> flags_for(["--use_cpu", "--lr=1", "--bf16", "false"], None, ["use_cpu", "bf16"])
    ['--use_cpu', '--bf16', 'false']
    """
    values = {name: [str(value).lower()] for name, value in _read_config(config).items()}
    for i, option in enumerate(options):
        if option.startswith("--"):
            name, has_value, value = option[2:].partition("=")
            following = options[i + 1 : i + 2]
            values[name.replace("-", "_")] = [value] if has_value else [word for word in following if not word.startswith("--")]
    return [word for name in names if name in values for word in (f"--{name}", *values[name])]


def _did_you_mean(options: Sequence[str], config_class: type[TrainingArguments]) -> str:
    """Suggestions for unknown flags that are a prefix of exactly one option, or similar to one."""
    import trl

    names = [field.name for kind in (config_class, trl.ModelConfig) for field in fields(kind)]
    unknown = sorted(option_names_in(options, None) - {*names, *(f"no_{name}" for name in names), "config"})
    similar = [[name for name in names if name.startswith(flag)] or get_close_matches(flag, names, n=1) for flag in unknown]
    fixes = [f"--{name[0]} for --{flag}" for flag, name in zip(unknown, similar, strict=True) if len(name) == 1]
    return f". Write {', '.join(fixes)}" if fixes else ""


def _cpu_hint(reason: str) -> str:
    return f"\n{_CPU}" if "bf16" in reason or "use_cpu" in reason else ""


def _read_config(config: str | Path | None) -> Mapping[str, object]:
    import yaml

    if config is None:
        return {}
    try:
        options = yaml.safe_load(Path(config).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: other encodings, and dates such as 2026-13-45
        raise SettingsError(f"{config} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(options, dict):
        raise SettingsError(f"{config} must contain TRL's options by name, as learning_rate: 1.0e-6; got a {type(options).__name__}")
    return options
