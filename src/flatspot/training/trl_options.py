"""Options of TRL and transformers, from flags and a YAML file, read by TRL's own parser."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError

_CPU = "Without a GPU add: --use_cpu --bf16 false --gradient_checkpointing false"


def parsed(config_class: Any, options: Sequence[str], config: str | Path | None, output_dir: Path) -> tuple[Any, Any]:
    """(the trainer's settings, TRL's ModelConfig); what the parser says of a wrong option becomes a SettingsError.

    output_dir  where the trainer writes if neither the flags nor the file say so
    """
    import trl

    options = [*options]
    if "output_dir" not in given(options, config):
        options += ["--output_dir", str(output_dir)]
    if config is not None:
        options = ["--config", str(config), *options]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            settings, model_settings = trl.TrlParser((config_class, trl.ModelConfig), allow_abbrev=False).parse_args_and_config(options)
    except SystemExit:
        line = (said.getvalue().strip().splitlines() or ["an option cannot be read"])[-1]
        raise SettingsError(f"TRL's {config_class.__name__} does not take these options: {line.partition('error: ')[2] or line}") from None
    except (ValueError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SettingsError(
            f"TRL's {config_class.__name__} does not take these options: {reason}{_meant(options, config_class)}{_cpu_hint(reason)}"
        ) from None
    _check(settings)
    return settings, model_settings


def _check(settings: Any) -> None:
    """Refuse what the trainers take and then fail on, or do not do."""
    if settings.max_steps < 1 and settings.max_steps != -1:  # -1 is transformers' own: as num_train_epochs says
        raise SettingsError(f"max_steps must be at least 1, got {settings.max_steps}")
    if settings.per_device_train_batch_size < 1:
        raise SettingsError(f"per_device_train_batch_size must be at least 1, got {settings.per_device_train_batch_size}")


def given(options: Sequence[str], config: str | Path | None) -> frozenset[str]:
    """The names of the options that the user set, by a flag or in the file."""
    flags = {option.split("=")[0].lstrip("-").replace("-", "_") for option in options if option.startswith("--")}
    return frozenset(flags | set(_read_config(config)))


def carried(options: Sequence[str], config: str | Path | None, names: Sequence[str]) -> list[str]:
    """The flags that say of `names` again what the user said of them, by a flag or in the file; a flag wins.

    >>> carried(["--use_cpu", "--lr=1", "--bf16", "false"], None, ["use_cpu", "bf16"])
    ['--use_cpu', '--bf16', 'false']
    """
    said = {name: [str(value).lower()] for name, value in _read_config(config).items()}
    for i, option in enumerate(options):
        if option.startswith("--"):
            name, has_value, value = option[2:].partition("=")
            following = options[i + 1 : i + 2]
            said[name.replace("-", "_")] = [value] if has_value else [word for word in following if not word.startswith("--")]
    return [word for name in names if name in said for word in (f"--{name}", *said[name])]


def _meant(options: Sequence[str], config_class: Any) -> str:
    """The full names of flags that TRL does not have, where only one begins like them or comes near."""
    import trl

    names = [field.name for kind in (config_class, trl.ModelConfig) for field in fields(kind)]
    unknown = sorted(given(options, None) - {*names, *(f"no_{name}" for name in names), "config"})
    found = [[name for name in names if name.startswith(flag)] or get_close_matches(flag, names, n=1) for flag in unknown]
    known = [f"--{name[0]} for --{flag}" for flag, name in zip(unknown, found, strict=True) if len(name) == 1]
    return f". Write {', '.join(known)}" if known else ""


def _cpu_hint(reason: str) -> str:
    return f"\n{_CPU}" if "bf16" in reason or "use_cpu" in reason else ""


def _read_config(config: str | Path | None) -> Mapping[str, Any]:
    import yaml

    if config is None:
        return {}
    try:
        found = yaml.safe_load(Path(config).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: other encodings, and dates such as 2026-13-45
        raise SettingsError(f"{config} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{config} must hold TRL's options by name, as learning_rate: 1.0e-6; got a {type(found).__name__}")
    return found
