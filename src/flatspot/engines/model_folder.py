"""The files of a model's folder, looked at before transformers reads them: which one is cut, missing or no model at all.

What a library raises for such a file names a line of its own code. Some of it is not raised at all: a generation_config.json that is cut is
passed over, and with it the tokens that end a completion.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import EngineError

# the first of these that is there is what transformers reads
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_JSON = ("config.json", "generation_config.json")
_TOKENIZER_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_LFS = b"version https://git-lfs"
_AGAIN = "Copy or download it again"
_SHOWN = 3
_HEADER = 100_000_000  # bytes: safetensors itself reads no longer one
_ADAPTER = "adapter_config.json"


def check_model_files(folder: Path) -> None:
    """Raise EngineError for config or weights that are missing, cut or damaged, naming the file and what mends it."""
    for name in _JSON:
        if (folder / name).is_file():
            json_object(folder / name)
    if not (folder / "config.json").is_file():
        raise no_model(folder)
    tensors = [name for file in _weight_files(folder) for name in check_weights(file)]
    layers = json_object(folder / "config.json").get("num_hidden_layers")
    if tensors and isinstance(layers, int) and layers > len(tensors):
        raise EngineError(
            f"{folder / 'config.json'} says num_hidden_layers = {layers}, and the weights beside it are {len(tensors)} tensors in all: "
            "it is the config of another model, or the number is wrong. Copy the config.json that belongs to these weights"
        )


def check_tokenizer_files(folder: Path) -> None:
    """Raise EngineError for a file of the tokenizer that is no JSON."""
    for name in _TOKENIZER_JSON:
        if (folder / name).is_file():
            json_object(folder / name)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a whole model."""
    return (folder / _ADAPTER).is_file() and not any(folder.glob("model*.safetensors"))


def no_model(folder: Path) -> EngineError:
    """The error for a folder that is none of a model, or where an adapter is no model yet."""
    if is_adapter(folder):
        return EngineError(
            f"{folder} is an adapter of a model, and a whole model is needed here: merge it into its base (merge_and_unload of peft), save "
            "that with its tokenizer, and give its folder"
        )
    return EngineError(
        f"{folder} is not a model's folder: expected config.json and safetensors, {_ADAPTER} and its weights, or one .gguf file"
        f"{_inside(folder)}"
    )


def no_tokenizer(source: str) -> EngineError:
    """The error for a policy whose tokenizer has no vocabulary, or cannot be built for want of its files."""
    return EngineError(
        f"{source} has no tokenizer: expected tokenizer.json (or tokenizer.model, or vocab.json and merges.txt) and tokenizer_config.json. "
        "Copy them, and chat_template.jinja where there is one, from the model that this one was trained from"
    )


def json_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; EngineError where there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:  # no JSON, or no text, or nothing but brackets
        size = file.stat().st_size
        raise EngineError(f"{file} ({size} bytes) is not JSON: {error}. It is cut or damaged{_pointer(file)}. {_AGAIN}") from error
    if not isinstance(found, dict):
        raise EngineError(f"{file} must hold a JSON object, it holds a {type(found).__name__}. {_AGAIN}")
    return found


def check_weights(file: Path) -> Sequence[str]:
    """The names of the tensors in a safetensors file whose length is what its header asks for; EngineError else. Of others: none."""
    size = file.stat().st_size
    if size == 0:
        raise EngineError(f"{file} is empty. {_AGAIN}")
    with file.open("rb") as stream:
        start = stream.read(64)
        if start.startswith(_LFS):
            raise EngineError(f"{file} is not the weights{_pointer(file)}")
        if file.suffix != ".safetensors":
            return []
        length = struct.unpack("<Q", start[:8])[0] if size >= 8 else size
        if 8 + length > size:
            raise EngineError(f"{file} ({size} bytes) is cut, or not safetensors: its header does not end within it. {_AGAIN}")
        if length > _HEADER:
            raise EngineError(f"{file} is not safetensors: its header is {length:,} bytes, of at most {_HEADER:,}. {_AGAIN}")
        stream.seek(8)
        try:
            header = json.loads(stream.read(length))
            spans = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
            ends = [span[1] for span in spans.values()]
            if wrong := [name for name, end in zip(spans, ends, strict=True) if type(end) is not int or not 0 <= end < 1 << 63]:
                raise ValueError(f"{wrong[0][:60]} does not end at a number of bytes")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise EngineError(f"{file} is not safetensors: its header cannot be read ({error}). {_AGAIN}") from error
    end = 8 + length + max(ends, default=0)
    if end != size:
        what = "is cut" if size < end else "is longer than its header says"
        raise EngineError(f"{file} {what}: expected {end:,} bytes, it has {size:,}. {_AGAIN}")
    return list(spans)


def _weight_files(folder: Path) -> list[Path]:
    """The files of weights that transformers reads in a folder, all of them there."""
    for name in _WEIGHTS:
        file = folder / name
        if file.is_file():
            return _shards(file) if name.endswith(".index.json") else [file]
    unfinished = next((found for pattern in ("*.incomplete", ".cache/**/*.incomplete") for found in folder.glob(pattern)), None)
    if unfinished is not None:
        raise EngineError(f"{folder} has no weights: a download was not finished ({unfinished.name}). Start the download again to go on")
    if link := next((file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin") and not file.exists()), None):
        raise EngineError(f"{link} is a link to a file that is gone. {_AGAIN}")
    raise EngineError(
        f"{folder} has no weights: expected model.safetensors, or model.safetensors.index.json and its parts{_inside(folder)}"
    )


def _shards(index: Path) -> list[Path]:
    parts = json_object(index).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise EngineError(f"{index} must name the file of each tensor in 'weight_map'. {_AGAIN}")
    files = [index.parent / name for name in sorted(set(parts.values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise EngineError(
            f"{len(missing)} of the {len(files)} files of weights that {index} names are missing: {', '.join(missing[:_SHOWN])}"
            f"{', …' if len(missing) > _SHOWN else ''}. Copy or download them"
        )
    return files


def _pointer(file: Path) -> str:
    """Says of a file that git-lfs left as a pointer what it is."""
    with file.open("rb") as stream:
        is_pointer = stream.read(len(_LFS)) == _LFS
    return ", but a pointer of git-lfs to it: run `git lfs pull` in its folder" if is_pointer else ""


def _inside(folder: Path) -> str:
    """The model folders within a folder, or what it holds instead, as the end of a sentence."""
    within = sorted(path.parent for pattern in ("*/config.json", "snapshots/*/config.json") for path in folder.glob(pattern))
    if within:
        return f". Within it, these have one: {', '.join(map(str, within[-_SHOWN:]))}"
    names = sorted(path.name for path in folder.iterdir())
    return f"; it holds {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "; it is empty"
