"""A GGUF file → a folder of safetensors that transformers loads in a fraction of a second."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from flatspot.core.cache import cache_dir
from flatspot.core.errors import EngineError
from flatspot.core.optional import require
from flatspot.engines.cache import build_once, file_fingerprint
from flatspot.engines.model_folder import json_object
from flatspot.engines.pretrained import library_errors, whole_model
from flatspot.engines.quiet import quiet_transformers

_CONVERSION = 1  # raise when the conversion changes, so that older converted folders are not used

# GPT-2's own splitting is what transformers gives every byte-level GGUF tokenizer; these types ask for more before it
_DIGITS_FIRST = {"smollm"}
_AS_GPT2 = {"gpt-2", "default", "smollm"}


def converted(file: Path) -> Path:
    """The folder (config, float32 safetensors, tokenizer) of a GGUF file, dequantised once and cached by its content."""
    target = cache_dir() / "policies" / f"{file.stem}-{file_fingerprint(file)}-v{_CONVERSION}"
    return build_once(target, lambda folder: _convert(file, folder))


def _convert(file: Path, folder: Path) -> None:
    require("gguf", extra="hf", purpose=f"reading {file.name}")
    require("accelerate", extra="hf", purpose=f"reading {file.name}")
    transformers = require("transformers", extra="hf", purpose=f"reading {file.name}")
    import torch

    pre = pre_tokenizer_type(file)
    # one progress bar of the conversion heeds no setting, hence the redirection
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        with library_errors(str(file), f"{file} as GGUF", "Copy or download it again, or convert it to safetensors and name that folder"):
            # without dequantize=True a quantizer stays on the model, which then cannot be saved
            model, notes = whole_model(
                transformers.AutoModelForCausalLM, str(file), file.parent, gguf_file=file.name, local_files_only=True,
                quantization_config=transformers.GgufConfig(dequantize=True), dtype=torch.float32,
            )  # fmt: skip
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
        if pre in _DIGITS_FIRST:
            split_digits_first(tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    record = {"source": file.name, "pre_tokenizer": pre, "notes": notes}
    (folder / "flatspot.json").write_text(json.dumps(record), encoding="utf-8")


def split_digits_first(tokenizer: Any) -> None:
    """Make each digit a piece of its own before the byte-level split, as the `smollm` pre-tokenizer type asks.

    The tokenizer that transformers converts from GGUF lacks this step, and then splits two or more white-space characters
    before a digit in another way than the policy was trained with.
    """
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer])


def pre_tokenizer_type(file: Path) -> str | None:
    """What the file's metadata says of its pre-tokenizer (`tokenizer.ggml.pre`); None where it says nothing."""
    gguf = require("gguf", extra="hf", purpose=f"reading {file.name}")
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise EngineError(
            f"{file} ({file.stat().st_size} bytes) is not a GGUF file, which starts with the letters GGUF. Copy or download it again"
        )
    try:
        field = gguf.GGUFReader(file).fields.get("tokenizer.ggml.pre")
        return None if field is None else str(field.contents())
    except MemoryError:
        raise
    except Exception as error:  # nothing but the reader runs here; what it raises depends on where the file is cut
        raise EngineError(
            f"{file} ({file.stat().st_size} bytes) is a GGUF file that is cut or damaged. Copy or download it again"
        ) from error


def conversion_notes(folder: Path) -> list[str]:
    """What a converted folder leaves in doubt: a pre-tokenizer type whose splitting was not checked."""
    record = folder / "flatspot.json"
    if not record.is_file():
        return []
    found = json_object(record)
    pre, said = found.get("pre_tokenizer"), found.get("notes")
    notes = [str(note) for note in said] if isinstance(said, list) else []
    if not isinstance(pre, str) or pre in _AS_GPT2:
        return notes
    return [
        *notes,
        f"the tokenizer was converted from {found.get('source')}, whose pre-tokenizer type {pre!r} transformers may "
        "split differently; a safetensors folder with its own tokenizer.json is safer",
    ]
