"""A GGUF file → a folder of safetensors that transformers loads in a fraction of a second."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.cache import cache_dir
from flatspot.core.errors import EngineError
from flatspot.core.optional import require
from flatspot.engines.cache import build_once, file_fingerprint
from flatspot.engines.model_folder import json_object
from flatspot.engines.pretrained import complete_model, library_errors
from flatspot.engines.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CONVERSION = 1  # increment when the conversion changes, so that folders converted earlier are not used

# transformers gives every byte-level GGUF tokenizer GPT-2's splitting; these types need a step before it
_DIGITS_FIRST = {"smollm"}
_AS_GPT2 = {"gpt-2", "default", "smollm"}


def convert(file: Path) -> Path:
    """The folder (config, float32 safetensors, tokenizer) of a GGUF file, dequantized once and cached by content."""
    target = cache_dir() / "policies" / f"{file.stem}-{file_fingerprint(file)}-v{_CONVERSION}"
    return build_once(target, lambda folder: _write_folder(file, folder))


def _write_folder(file: Path, folder: Path) -> None:
    require("gguf", extra="hf", purpose=f"reading {file.name}")
    require("accelerate", extra="hf", purpose=f"reading {file.name}")
    transformers = require("transformers", extra="hf", purpose=f"reading {file.name}")
    import torch

    pre = pre_tokenizer_type(file)
    # one progress bar of the conversion ignores every setting, hence the redirection
    with quiet_transformers(), redirect_stderr(io.StringIO()):
        with library_errors(str(file), f"{file} as GGUF", "Copy or download it again, or convert it to safetensors and use that folder"):
            # without dequantize=True a quantizer stays on the model, which then cannot be saved
            model, notes = complete_model(
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


def split_digits_first(tokenizer: PreTrainedTokenizerFast) -> None:
    """Split off each digit before the byte-level split, as the `smollm` pre-tokenizer type requires.

    The tokenizer that transformers converts from GGUF lacks this step, and then splits two or more white-space characters
    before a digit differently from how the policy was trained.
    """
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer])


def pre_tokenizer_type(file: Path) -> str | None:
    """The pre-tokenizer type in the file's metadata (`tokenizer.ggml.pre`); None if there is none."""
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
    except Exception as error:  # only the reader runs here; what it raises depends on where the file is truncated
        raise EngineError(
            f"{file} ({file.stat().st_size} bytes) is a GGUF file that is truncated or damaged. Copy or download it again"
        ) from error


def conversion_notes(folder: Path) -> list[str]:
    """Caveats of a converted folder: those of its conversion, or a pre-tokenizer type whose splitting was not checked."""
    record = folder / "flatspot.json"
    if not record.is_file():
        return []
    conversion = json_object(record)
    pre, recorded = conversion.get("pre_tokenizer"), conversion.get("notes")
    notes = [str(note) for note in recorded] if isinstance(recorded, list) else []
    if not isinstance(pre, str) or pre in _AS_GPT2:
        return notes
    return [
        *notes,
        f"the tokenizer was converted from {conversion.get('source')}, whose pre-tokenizer type {pre!r} transformers may "
        "split differently; a safetensors folder with its own tokenizer.json is safer",
    ]
