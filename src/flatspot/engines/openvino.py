"""The fast engine on a CPU: openvino-genai with continuous batching, token ids in and out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from flatspot.core.cache import cache_dir
from flatspot.core.errors import EngineError, last_line
from flatspot.core.leftovers import scratch_folder, temporary_beside
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, Sampling
from flatspot.core.seeds import fold_seed
from flatspot.engines.cache import build_once
from flatspot.engines.llama_gguf import unsupported, write_gguf
from flatspot.engines.memory import budget_bytes, footprint
from flatspot.engines.openvino_packages import openvino, openvino_genai
from flatspot.engines.policy import Policy
from flatspot.engines.prompts import encode_requests, no_completion, to_completion
from flatspot.engines.verify import PROBE_TOKENS, TOLERANCE, Check, Greedy, compare, probe_ids

if TYPE_CHECKING:
    from types import ModuleType

    from openvino import Tensor
    from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, GenerationHandle, SchedulerConfig

_FORMAT = 1  # increment when the file written for openvino-genai changes
_ROWS_IN_FLIGHT = 512
_TOKENS_PER_STEP = 2048
_SEED_BITS = 32  # of its sampler
_BLOCK = 32  # tokens per block of its key-value cache on a CPU
_CACHE_BYTES = 4 << 30
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


@dataclass
class _Row:
    """A row in progress in the pipeline, and its tokens so far."""

    handle: GenerationHandle
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)


class OpenVinoEngine:
    """Samples a llama, qwen2 or qwen3 policy with openvino-genai, several times faster than transformers on a CPU.

    The policy's weights are written as float16 once and cached by content; the tokenizer is transformers' own. Each row has its own seed
    (folded to the 32 bits that the sampler accepts), so it does not depend on the other rows of a batch, apart from float rounding; the
    rows of a prompt share its prefill through the prefix cache. `precision` is that of the arithmetic, "float32" or "bfloat16"; with
    bfloat16's coarser rounding many rows vary with the batch. `memory_gib` bounds the key-value cache (default: half of the free memory,
    at most 4 GiB).

    check  of its greedy tokens against transformers in float32; if it failed, the caller should use another engine
    """

    name = "openvino"
    rows_per_call = _ROWS_IN_FLIGHT

    def __init__(self, policy: Policy, *, precision: str = "float32", memory_gib: float | None = None) -> None:
        genai = openvino_genai("the openvino engine")
        why = unsupported(policy.model.config)
        if why is not None:
            raise EngineError(f"the openvino engine cannot run {policy.name}: {why}. Use --engine hf")
        if precision not in _PRECISION:
            raise EngineError(f"the openvino engine computes in {' or '.join(_PRECISION)}, got {precision!r}")
        if policy.dtype != "float32":
            raise EngineError(f"the openvino engine needs a policy in float32 (its precision is set separately), got {policy.dtype}")
        self.precision = precision
        self.notes = list(policy.notes)
        scheduler = _scheduler(genai, policy, precision, memory_gib)
        self._cache_tokens = scheduler.num_kv_blocks * _BLOCK
        if policy.fingerprint_of_files:
            home = cache_dir() / "openvino" / f"{policy.fingerprint.replace(':', '-')}-v{_FORMAT}"
            folder = build_once(home, lambda draft: write_gguf(policy, draft / "model.gguf"))
            self._pipeline = open_pipeline(genai, folder / "model.gguf", scheduler, precision)
            self.check = self._check_once(policy, folder / f"check-{version('openvino-genai')}-{precision}.json")
        else:
            # a model in memory may change with the next training step: nothing is cached
            with scratch_folder() as scratch:
                write_gguf(policy, scratch / "model.gguf")
                self._pipeline = open_pipeline(genai, scratch / "model.gguf", scheduler, precision)
            self.check = self._check(policy)
        # only the config is needed from here on: the weights live in the pipeline
        self.policy = replace(policy, model=SimpleNamespace(config=policy.model.config))

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests; one with an error for a prompt that does not fit the context."""
        encoded, problems = encode_requests(self.policy, requests, sampling, self.notes)
        configs = [[_sampling_config(self.policy, sampling, seed) for seed in requests[i].seeds] for i in encoded]
        rows = dict(zip(encoded, run(self._pipeline, list(encoded.values()), configs, on_tokens) if encoded else (), strict=True))
        return [
            [no_completion(problems[i])] * len(request.seeds)
            if i in problems
            else [to_completion(self.policy, row.tokens, sampling.max_new_tokens, math.fsum(row.log_probs)) for row in rows[i]]
            for i, request in enumerate(requests)
        ]

    def recall(self, calls: Sequence[Sequence[PromptRequest]], sampling: Sampling) -> None:
        """Leave the prefix cache as these calls of `sample` would have, so that later rows are rounded alike. Samples nothing.

        Does nothing if the calls' prompts may have outgrown the cache, half of which is reserved for rows: its contents are then unknown.
        """
        encoded = [list(encode_requests(self.policy, requests, sampling, self.notes)[0].values()) for requests in calls]
        distinct = {tuple(ids) for prompts in encoded for ids in prompts}
        if sum(map(len, distinct)) <= self._cache_tokens // 2:
            for prompts in encoded:
                read_prompts(self._pipeline, prompts)

    def describe(self) -> Mapping[str, Json]:
        """Policy, precision, package versions, and the check of the pipeline; equal at every start."""
        return {
            "engine": self.name,
            **self.policy.describe(),
            "dtype": self.precision,
            "weights": "float16",
            "device": "cpu",
            "versions": {package: version(package) for package in ("openvino", "openvino-genai", "transformers")},
            "check": self.check.describe(),
        }

    def _check_once(self, policy: Policy, record: Path) -> Check:
        """The check, or its recorded result if it passed before for this content, precision and version."""
        if record.is_file():
            return Check(**json.loads(record.read_text(encoding="utf-8")))
        check = self._check(policy)
        if check.passed:
            draft = temporary_beside(record)
            draft.write_text(check.to_json(), encoding="utf-8")
            draft.replace(record)
        return check

    def _check(self, policy: Policy) -> Check:
        return check_pipeline(self._pipeline, policy, self.precision)


def check_pipeline(pipeline: ContinuousBatchingPipeline, policy: Policy, precision: str) -> Check:
    """Greedy continuations of the probes by a pipeline, against plain forward passes of the policy."""
    prompts = probe_ids(policy)
    rows = run(pipeline, prompts, [[_greedy_config(policy)] for _ in prompts], None)
    return compare(policy, prompts, [Greedy(row.tokens, row.log_probs) for [row] in rows], TOLERANCE[precision])


def open_pipeline(genai: ModuleType, file: Path, scheduler: SchedulerConfig, precision: str) -> ContinuousBatchingPipeline:
    """A continuous-batching pipeline on a GGUF file; EngineError if openvino-genai cannot read it."""
    # the cache in full precision too: with float16 the log-probabilities vary by 1e-3 with the batch, and two rows in five then
    # take another token within 24 steps; with float32 they vary by 1e-5, and none of 16 rows did
    properties = {"INFERENCE_PRECISION_HINT": _PRECISION[precision], "KV_CACHE_PRECISION": _PRECISION[precision]}
    try:
        return genai.ContinuousBatchingPipeline(str(file), scheduler, "CPU", properties)
    except (RuntimeError, IndexError) as error:
        raise EngineError(
            f"openvino-genai {version('openvino-genai')} cannot open {file.name}: {last_line(error)}. Use --engine hf"
        ) from error


def run(
    pipeline: ContinuousBatchingPipeline,
    prompts: Sequence[Sequence[int]],
    configs: Sequence[Sequence[GenerationConfig]],
    on_tokens: OnTokens | None,
) -> list[list[_Row]]:
    """One row per (prompt, config). The prompts are first read into the prefix cache, which their rows then share."""
    read_prompts(pipeline, prompts)
    numbers = iter(range(sum(map(len, configs))))
    rows = [
        [_Row(pipeline.add_request(next(numbers), tensor, config)) for config in row_configs]
        for tensor, row_configs in zip(_tensors(prompts), configs, strict=True)
    ]
    waiting = [row for group in rows for row in group]
    while pipeline.has_non_finished_requests():
        _step(pipeline, waiting, on_tokens)
        running = [row for row in waiting if row.handle.get_status().name == "RUNNING"]
        tell_completed(on_tokens, len(waiting) - len(running))
        waiting = running
    n_unfinished = sum(row.handle.get_status().name != "FINISHED" for group in rows for row in group)
    if n_unfinished:
        raise EngineError(
            f"openvino-genai did not finish {n_unfinished} rows: its cache is too small. Raise the memory setting or lower --max-new-tokens"
        )
    return rows


def read_prompts(pipeline: ContinuousBatchingPipeline, prompts: Sequence[Sequence[int]]) -> None:
    """Read prompts into the prefix cache, whose contents then depend on the prompts read so far, not on the rows sampled."""
    config = openvino_genai("the openvino engine").GenerationConfig()
    config.max_new_tokens = 1
    config.ignore_eos = True
    config.do_sample = False
    rows = [_Row(pipeline.add_request(i, tensor, config)) for i, tensor in enumerate(_tensors(prompts))]
    while pipeline.has_non_finished_requests():
        _step(pipeline, rows, None)


def _tensors(prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    import numpy as np

    tensor = openvino().Tensor
    return [tensor(np.array([ids], dtype=np.int64)) for ids in prompts]


def _step(pipeline: ContinuousBatchingPipeline, rows: Sequence[_Row], on_tokens: OnTokens | None) -> None:
    try:
        pipeline.step()
    except RuntimeError as error:
        raise EngineError(f"openvino-genai failed while sampling: {last_line(error)}") from error
    new = 0
    for row in rows:
        while row.handle.can_read():
            for output in row.handle.read().values():
                row.tokens += output.generated_ids
                row.log_probs += output.generated_log_probs
                new += len(output.generated_ids)
    if on_tokens is not None and new:
        on_tokens(new)


def _scheduler(genai: ModuleType, policy: Policy, precision: str, memory_gib: float | None) -> SchedulerConfig:
    """As many blocks of key-value cache as fit the budget; when they run out, rows wait."""
    budget = budget_bytes(memory_gib, "cpu") if memory_gib is not None else min(budget_bytes(None, "cpu"), _CACHE_BYTES)
    token_bytes = footprint(policy).kv_token // (1 if precision == "float32" else 2)  # the policy itself is in float32
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = max(64, int(budget // (token_bytes * _BLOCK)))
    scheduler.max_num_seqs = _ROWS_IN_FLIGHT
    scheduler.max_num_batched_tokens = _TOKENS_PER_STEP
    scheduler.enable_prefix_caching = True
    scheduler.dynamic_split_fuse = True
    return scheduler


def _sampling_config(policy: Policy, sampling: Sampling, seed: int) -> GenerationConfig:
    """The generation settings of one row, all explicit: an unset end token or top_k would default to the model's."""
    config = _config(policy, sampling.max_new_tokens)
    config.do_sample = True
    config.temperature = sampling.temperature
    config.top_p = sampling.top_p
    config.top_k = sampling.top_k or int(policy.model.config.vocab_size)
    config.rng_seed = fold_seed(seed, _SEED_BITS)
    config.logprobs = 0  # the drawn token's after temperature, top-k and top-p; with 1 or more the pipeline tells them from before
    return config


def _greedy_config(policy: Policy) -> GenerationConfig:
    config = _config(policy, PROBE_TOKENS)
    config.do_sample = False
    config.logprobs = 1
    return config


def _config(policy: Policy, limit: int) -> GenerationConfig:
    config = openvino_genai("the openvino engine").GenerationConfig()
    config.max_new_tokens = limit
    if policy.eos_ids:
        config.eos_token_id = policy.eos_ids[0]
        config.stop_token_ids = set(policy.eos_ids)
    else:
        config.ignore_eos = True
    return config
