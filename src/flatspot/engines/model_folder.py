"""Checks of a model folder before transformers reads it: which file is truncated, missing or not a model's.

The libraries' errors for such files name a line of their own code, and some faults raise none: a truncated generation_config.json is
ignored, and with it the tokens that end a completion.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json

# transformers reads the first of these that exists
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_JSON = ("config.json", "generation_config.json")
_TOKENIZER_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_LFS = b"version https://git-lfs"
_AGAIN = "Copy or download it again"
_SHOWN = 3
_HEADER = 100_000_000  # bytes: the limit of safetensors itself
_ADAPTER = "adapter_config.json"


def check_model_files(folder: Path) -> None:
    """Raise EngineError for config or weights that are missing, truncated or damaged, naming the file and the fix."""
    for name in _JSON:
        if (folder / name).is_file():
            json_object(folder / name)
    if not (folder / "config.json").is_file():
        raise no_model(folder)
    tensors = [name for file in _weight_files(folder) for name in check_weights(file)]
    layers = json_object(folder / "config.json").get("num_hidden_layers")
    if tensors and isinstance(layers, int) and layers > len(tensors):
        raise EngineError(
            f"{folder / 'config.json'} has num_hidden_layers = {layers}, but the weights beside it are only {len(tensors)} tensors: "
            "it is the config of another model, or the number is wrong. Copy the config.json that belongs to these weights"
        )


def check_tokenizer_files(folder: Path) -> None:
    """Raise EngineError for a tokenizer file that is not JSON."""
    for name in _TOKENIZER_JSON:
        if (folder / name).is_file():
            json_object(folder / name)


def is_adapter(folder: Path) -> bool:
    """Whether a folder contains an adapter and no weights of a full model."""
    return (folder / _ADAPTER).is_file() and not any(folder.glob("model*.safetensors"))


def no_model(folder: Path) -> EngineError:
    """The error for a folder without a model, or with an adapter where a full model is needed."""
    if is_adapter(folder):
        return EngineError(
            f"{folder} is an adapter, and a full model is needed here: merge it into its base (merge_and_unload of peft), save "
            "the result with its tokenizer, and use that folder"
        )
    return EngineError(
        f"{folder} is not a model folder: expected config.json and safetensors, {_ADAPTER} and its weights, or one .gguf file"
        f"{_inside(folder)}"
    )


def no_tokenizer(source: str) -> EngineError:
    """The error for a policy whose tokenizer has no vocabulary or lacks files."""
    return EngineError(
        f"{source} has no tokenizer: expected tokenizer.json (or tokenizer.model, or vocab.json and merges.txt) and tokenizer_config.json. "
        "Copy them, and chat_template.jinja if there is one, from the base model"
    )


def json_object(file: Path) -> dict[str, Json]:
    """The object in a JSON file; EngineError if it is not one."""
    try:
        value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:  # not JSON, or not text, or too deeply nested
        size = file.stat().st_size
        raise EngineError(f"{file} ({size} bytes) is not JSON: {error}. It is truncated or damaged{_pointer(file)}. {_AGAIN}") from error
    if not isinstance(value, dict):
        raise EngineError(f"{file} must contain a JSON object, got a {type(value).__name__}. {_AGAIN}")
    return value


def check_weights(file: Path) -> Sequence[str]:
    """The tensor names of a safetensors file; EngineError if its length does not match its header. Empty for other formats."""
    size = file.stat().st_size
    if size == 0:
        raise EngineError(f"{file} is empty. {_AGAIN}")
    with file.open("rb") as stream:
        start = stream.read(64)
        if start.startswith(_LFS):
            raise EngineError(f"{file} does not contain weights{_pointer(file)}")
        if file.suffix != ".safetensors":
            return []
        length = struct.unpack("<Q", start[:8])[0] if size >= 8 else size
        if 8 + length > size:
            raise EngineError(f"{file} ({size} bytes) is truncated, or not safetensors: its header does not end within it. {_AGAIN}")
        if length > _HEADER:
            raise EngineError(f"{file} is not safetensors: its header is {length:,} bytes long, more than {_HEADER:,}. {_AGAIN}")
        stream.seek(8)
        try:
            header = json.loads(stream.read(length))
            spans = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
            ends = [span[1] for span in spans.values()]
            if invalid := [name for name, end in zip(spans, ends, strict=True) if type(end) is not int or not 0 <= end < 1 << 63]:
                raise ValueError(f"the end of {invalid[0][:60]} is not a number of bytes")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise EngineError(f"{file} is not safetensors: its header cannot be read ({error}). {_AGAIN}") from error
    end = 8 + length + max(ends, default=0)
    if end != size:
        what = "is truncated" if size < end else "is longer than its header states"
        raise EngineError(f"{file} {what}: expected {end:,} bytes, it has {size:,}. {_AGAIN}")
    return list(spans)


def _weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers reads in a folder, all of which exist."""
    for name in _WEIGHTS:
        file = folder / name
        if file.is_file():
            return _shards(file) if name.endswith(".index.json") else [file]
    unfinished = next((file for pattern in ("*.incomplete", ".cache/**/*.incomplete") for file in folder.glob(pattern)), None)
    if unfinished is not None:
        raise EngineError(f"{folder} has no weights: a download did not finish ({unfinished.name}). Start it again to resume")
    if link := next((file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin") and not file.exists()), None):
        raise EngineError(f"{link} is a link to a file that no longer exists. {_AGAIN}")
    raise EngineError(
        f"{folder} has no weights: expected model.safetensors, or model.safetensors.index.json and its parts{_inside(folder)}"
    )


def _shards(index: Path) -> list[Path]:
    parts = json_object(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise EngineError(f"{index} must map each tensor to its file in 'weight_map'. {_AGAIN}")
    files = [index.parent / name for name in sorted(set(parts.values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise EngineError(
            f"{len(missing)} of the {len(files)} weight files listed in {index} are missing: {', '.join(missing[:_SHOWN])}"
            f"{', …' if len(missing) > _SHOWN else ''}. Copy or download them"
        )
    return files


def _pointer(file: Path) -> str:
    """The end of a sentence about a file that is only a git-lfs pointer; empty for any other."""
    with file.open("rb") as stream:
        is_pointer = stream.read(len(_LFS)) == _LFS
    return ": it is a git-lfs pointer. Run `git lfs pull` in its folder" if is_pointer else ""


def _inside(folder: Path) -> str:
    """The model folders inside a folder, or else its contents, as the end of a sentence."""
    within = sorted(path.parent for pattern in ("*/config.json", "snapshots/*/config.json") for path in folder.glob(pattern))
    if within:
        return f". These folders inside it have one: {', '.join(map(str, within[-_SHOWN:]))}"
    names = sorted(path.name for path in folder.iterdir())
    return f"; it contains {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "; it is empty"
