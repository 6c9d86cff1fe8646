"""Engine by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flatspot.core.errors import EngineError, MissingExtra
from flatspot.core.extensions import find_extension, one_of
from flatspot.core.plain import Json
from flatspot.core.protocols import Engine
from flatspot.core.records import Sampling
from flatspot.engines.notes import log_notes

if TYPE_CHECKING:
    from flatspot.engines.ray_actors import RayOptions
    from flatspot.engines.server.fleet import ServerOptions

Values = Mapping[str, Json] | None  # of a chat template
ENGINES = ("auto", "hf", "openvino", "vllm", "openai", "ray", "scripted")


def load_engine(
    name: str,
    model: str | Path | tuple[object, object] | Engine,
    *,
    dtype: str = "auto",
    device: str = "auto",
    memory_gib: float | None = None,
    tensor_parallel: int = 1,
    pool: RayOptions | None = None,
    servers: ServerOptions | None = None,
    sampling: Sampling | None = None,
    chat: bool = False,
    template_kwargs: Mapping[str, Json] | None = None,
    say: Callable[[str], None] | None = None,
) -> Engine:
    """The engine `name` on the policy `model`.

    name        auto      openvino on a CPU where it is installed and reads the architecture, else hf
                hf        transformers, any architecture, CPU or CUDA
                openvino  openvino-genai on a CPU: llama, qwen2, qwen3
                vllm      vLLM in this process, on GPUs (or its CPU build)
                ray       a pool of workers on Ray, each with another engine: `pool` says which and how many
                openai    OpenAI-compatible servers (vLLM, SGLang, llama.cpp), of which `servers` has the addresses; `model` is their name
                          of it, or the policy's folder, which serves to encode prompts and to check what they sample
                scripted  an answer table; `model` is its JSON file
                another   one that an installed package adds to `flatspot.engines` (`core.protocols.MakeEngine`)
    model       as `load_policy` takes it; an Engine is returned as it is
    dtype       auto, float32, bfloat16 or float16 (openvino: the precision of the arithmetic)
    memory_gib  bound of caches and logits beside the weights
    tensor_parallel  GPUs over which vllm spreads the model
    sampling    how rows will be drawn, and chat, whether their prompts are chat messages: what a server is checked for
    template_kwargs    values for the policy's chat template; refused by an engine that applies none
    say         called with a line before a slow step

    An openvino engine that fails its check against transformers is replaced by hf, and its `notes` say so. Notes are also logged, as
    warnings of `flatspot.engines`.

    Raises EngineError for an unknown name or a policy that cannot be loaded, MissingExtra for a missing package, ExtensionError naming a
    package whose engine fails or is none.
    """
    if not isinstance(model, str | Path | tuple):
        if isinstance(model, Engine):
            _refuse_values(getattr(model, "name", type(model).__name__), template_kwargs)
            return model
        raise EngineError(f"a policy is a name, a path, a pair (model, tokenizer) or an engine, got {type(model).__name__}")
    if name in ENGINES and name != "scripted" and say is not None and not isinstance(model, tuple):
        say(f"loading {model}, and checking how it is sampled")
    if name == "openai":
        engine = _openai(model, dtype, device, servers, sampling or Sampling(), chat, template_kwargs)
    elif name == "ray":
        engine = _ray(model, dtype, device, memory_gib, tensor_parallel, pool, template_kwargs)
    elif name == "vllm":
        engine = _vllm(model, dtype, device, memory_gib, tensor_parallel, template_kwargs)
    else:
        engine = _make(name, model, dtype, device, memory_gib, template_kwargs)
    log_notes(getattr(engine, "notes", ()))
    return engine


def _make(
    name: str, model: str | Path | tuple[object, object], dtype: str, device: str, memory_gib: float | None, values: Values
) -> Engine:
    if name not in ENGINES or name == "scripted":
        _refuse_values(name, values)
        return _scripted(model) if name == "scripted" else _added(name, model, dtype, device, memory_gib)
    if name == "openvino" or (name == "auto" and _openvino_serves(model, device, dtype)):
        return _openvino(name, model, dtype, device, memory_gib, values)
    return _hf(model, dtype, device, memory_gib, values)


def _refuse_values(engine: str, values: Values) -> None:
    """Raise EngineError where values for a chat template were given to an engine that applies none."""
    if values:
        raise EngineError(
            f"--chat-template-kwargs is for a policy's chat template, and the engine {engine!r} applies none that flatspot could give "
            "values to: leave the option out, or use --engine hf, openvino or openai"
        )


def _added(name: str, model: str | Path | tuple[object, object], dtype: str, device: str, memory_gib: float | None) -> Engine:
    """An engine of another package; raises `ExtensionError` where it is none, or cannot be made."""
    added = find_extension("engines", name)
    if added is None:
        raise EngineError(f"there is no engine {name!r}; it is one of {one_of('engines', ENGINES)}")
    make = added.load()
    if not callable(make):
        raise added.error(f"expected a function of a model, got {type(make).__name__}")
    with added.running():
        engine: object = make(model, dtype=dtype, device=device, memory_gib=memory_gib)
    if not isinstance(engine, Engine):
        raise added.error(f"expected an engine with name, rows_per_call, sample and describe, got {type(engine).__name__}")
    return engine


def _scripted(model: str | Path | tuple[object, object]) -> Engine:
    from flatspot.engines.scripted import ScriptedEngine

    if isinstance(model, tuple):
        raise EngineError("the scripted engine takes a JSON file of answers, got a pair (model, tokenizer); use --engine hf")
    return ScriptedEngine.from_file(model)


def _openai(
    model: str | Path | tuple[object, object],
    dtype: str,
    device: str,
    servers: ServerOptions | None,
    sampling: Sampling,
    chat: bool,
    values: Values,
) -> Engine:
    from flatspot.engines.policy import DEFAULT_POLICY, load_policy
    from flatspot.engines.server.engine import ServerEngine

    if servers is None or not servers.base_urls:
        raise EngineError("the engine 'openai' needs the address of a server: --base-url http://localhost:8000/v1")
    at_hand = isinstance(model, tuple) or str(model) == DEFAULT_POLICY or Path(model).expanduser().exists()
    policy = load_policy(model, dtype=dtype, device=device, template_kwargs=values) if at_hand else None
    name = policy.name if policy is not None else str(model)
    return ServerEngine(name, servers, sampling, policy=policy, chat=chat, template_kwargs=values)


def _vllm(
    model: str | Path | tuple[object, object], dtype: str, device: str, memory_gib: float | None, tensor_parallel: int, values: Values
) -> Engine:
    from flatspot.engines.policy import load_policy, resolve_dtype
    from flatspot.engines.vllm import VllmEngine, vllm_device

    where = vllm_device()
    if device not in ("auto", where):
        raise EngineError(f"vLLM runs on {where} here, got device {device!r}: leave --device out, and choose GPUs by CUDA_VISIBLE_DEVICES")
    dtype = resolve_dtype(dtype, where)
    policy = load_policy(model, dtype=dtype, device="cpu", template_kwargs=values)  # for the check: the GPU is vLLM's
    return cast(Engine, VllmEngine(policy, dtype=dtype, memory_gib=memory_gib, tensor_parallel=tensor_parallel))


def _ray(
    model: str | Path | tuple[object, object],
    dtype: str,
    device: str,
    memory_gib: float | None,
    tensor_parallel: int,
    pool: RayOptions | None,
    values: Values,
) -> Engine:
    from flatspot.engines.ray_actors import RayOptions
    from flatspot.engines.ray_pool import RayEngine

    pool = pool or RayOptions()
    gpus = tensor_parallel if pool.engine == "vllm" else int(device.startswith("cuda"))
    of_each = {"name": pool.engine, "model": model, "dtype": dtype, "device": device, "memory_gib": memory_gib}
    more = {"tensor_parallel": tensor_parallel, "template_kwargs": values}
    return cast(Engine, RayEngine(load_engine, pool, gpus=gpus, **of_each, **more))


def _hf(
    model: str | Path | tuple[object, object], dtype: str, device: str, memory_gib: float | None, values: Values, *notes: str
) -> Engine:
    from flatspot.engines.hf import HfEngine
    from flatspot.engines.policy import load_policy

    engine = HfEngine(load_policy(model, dtype=dtype, device=device, template_kwargs=values), memory_gib=memory_gib)
    engine.notes += notes
    return engine


def _openvino(
    name: str, model: str | Path | tuple[object, object], dtype: str, device: str, memory_gib: float | None, values: Values
) -> Engine:
    from flatspot.engines.llama_gguf import unsupported
    from flatspot.engines.openvino import OpenVinoEngine
    from flatspot.engines.policy import load_policy

    if device not in ("auto", "cpu"):
        raise EngineError(f"the openvino engine runs on a CPU, got device {device!r}; use --engine hf")
    policy = load_policy(model, dtype="float32", device="cpu", template_kwargs=values)
    why = unsupported(policy.model.config)
    if name == "auto" and (why is not None or policy.dtype != "float32"):
        del policy
        return _hf(model, dtype, device, memory_gib, values)
    precision = "float32" if dtype == "auto" else dtype
    try:
        engine = OpenVinoEngine(policy, precision=precision, memory_gib=memory_gib)
        why = None if engine.check.passed else f"it does not sample this policy as transformers does: {engine.check.sentence()}"
    except EngineError as error:
        if name == "openvino":
            raise
        why = str(error)
    if why is None:
        return cast(Engine, engine)
    del policy
    return _hf(model, dtype, device, memory_gib, values, f"the openvino engine was left for hf: {why}")


def _openvino_serves(model: str | Path | tuple[object, object], device: str, dtype: str) -> bool:
    """Whether `auto` should try openvino: it is installed, there is no CUDA device to prefer, and it offers the dtype."""
    if device not in ("auto", "cpu") or dtype == "float16" or importlib.util.find_spec("openvino_genai") is None:
        return False
    if isinstance(model, tuple):
        return str(getattr(model[0], "device", "cpu")) == "cpu"
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("loading a policy needs the package 'torch': pip install 'flatspot[hf]'") from error
    return device == "cpu" or not torch.cuda.is_available()
