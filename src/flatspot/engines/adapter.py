"""A policy saved as a LoRA adapter: the base is loaded and the adapter merged into it, which gives an ordinary model."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError
from flatspot.core.optional import require
from flatspot.engines.model_folder import check_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def base_of(folder: Path) -> str:
    """The policy an adapter was trained on, as its adapter_config.json names it; EngineError where it does not."""
    try:
        base = json.loads((folder / _CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base:
        raise EngineError(f"{folder / _CONFIG} does not name the adapter's base model: set base_model_name_or_path to its name or folder")
    # trainers write the path from their configuration, which may be relative to where they ran or to the adapter
    return str(folder / base) if not Path(base).exists() and (folder / base).exists() else base


def has_tokenizer(folder: Path) -> bool:
    """Whether the adapter comes with a tokenizer, as trainers save it."""
    return (folder / "tokenizer_config.json").is_file()


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base model with the adapter's weights merged into its own."""
    peft = require("peft", extra="train", purpose=f"loading the adapter {folder}")
    _check_weights(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised by peft's own calls to transformers
            warnings.filterwarnings("error", ".*missing adapter keys.*")  # without its weights an adapter changes nothing
            adapted = peft.PeftModel.from_pretrained(model, str(folder))
    except MemoryError:
        raise
    except Exception as error:  # only peft runs here, on these files
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"peft cannot apply the adapter {folder} to its base {base_of(folder)!r}: {reason}") from error
    if not hasattr(adapted.base_model, "merge_and_unload"):
        kind = getattr(adapted.active_peft_config, "peft_type", "?")
        raise EngineError(
            f"the adapter {folder} is of type {kind}, which cannot be merged into its base. Use a LoRA adapter or a full model"
        )
    return adapted.merge_and_unload()


def _check_weights(folder: Path) -> None:
    """Raise EngineError where the adapter's own weights are missing or truncated; peft would look for them on the hub."""
    files = [folder / name for name in _WEIGHTS if (folder / name).is_file()]
    if not files:
        raise EngineError(f"{folder} is an adapter without weights: expected {' or '.join(_WEIGHTS)} beside {_CONFIG}. Copy them there")
    check_weights(files[0])


def joint_fingerprint(adapter: str | None, base: str) -> str:
    """One fingerprint for an adapter and its base."""
    return hashlib.blake2b(f"{adapter}\x1f{base}".encode(), digest_size=8).hexdigest()
