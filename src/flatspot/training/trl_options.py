"""Options of TRL and transformers, from flags and a YAML file, read by TRL's own parser."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
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
            settings, model_settings = trl.TrlParser((config_class, trl.ModelConfig)).parse_args_and_config(options)
    except SystemExit:
        line = (said.getvalue().strip().splitlines() or ["an option cannot be read"])[-1]
        raise SettingsError(f"TRL's {config_class.__name__} does not take these options: {line.partition('error: ')[2] or line}") from None
    except (ValueError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SettingsError(f"TRL's {config_class.__name__} does not take these options: {reason}{_cpu_hint(reason)}") from None
    return settings, model_settings


def given(options: Sequence[str], config: str | Path | None) -> frozenset[str]:
    """The names of the options that the user set, by a flag or in the file."""
    flags = {option.split("=")[0].lstrip("-").replace("-", "_") for option in options if option.startswith("--")}
    return frozenset(flags | set(_read_config(config)))


def _cpu_hint(reason: str) -> str:
    return f"\n{_CPU}" if "bf16" in reason or "use_cpu" in reason else ""


def _read_config(config: str | Path | None) -> Mapping[str, Any]:
    import yaml

    if config is None:
        return {}
    try:
        found = yaml.safe_load(Path(config).read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{config} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{config} must hold TRL's options by name, as learning_rate: 1.0e-6; got a {type(found).__name__}")
    return found
