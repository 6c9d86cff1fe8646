"""Everything a user can set for a run, in one frozen place."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from flatspot.core.errors import SettingsError
from flatspot.core.plain import Json
from flatspot.core.records import LARGEST_REWARD, Sampling

Advantage = Literal["centered", "normalized"]  # rewards less a baseline; these divided by their group's std
ADVANTAGES: tuple[Advantage, ...] = ("centered", "normalized")
MOST_WEIGHED = 2048  # completions of a prompt that triage can look ahead to: 3.5 GB


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `diagnose` can be told; the defaults are TRL's where TRL has one.

    completions and sampling
        max_completions    per prompt, at most
        fixed_completions  draw as many of every prompt, whatever the rewards are
        max_generations    completions in all; None: as many as the verdicts take
        round_size         completions per prompt and round; None: enough to keep the engine busy
        temperature, top_p, top_k, max_new_tokens    see `Sampling`
        seed             two runs with one seed draw the same completions
    engine
        engine           auto, hf, openvino, vllm, openai, ray or scripted; auto with a base_url is openai
        base_url         addresses of OpenAI-compatible servers, or files with one a line
        served_name      what they call the model; None: as the policy's name says
        tensor_parallel  GPUs over which the vllm engine spreads the model
        worker_engine    what each worker of the ray engine samples with; workers, how many there are to be
        ray_address      of their cluster; None: this machine, or what RAY_ADDRESS says
        concurrency      requests in flight for each server
        chat_template_kwargs    values for the policy's chat template, such as {"enable_thinking": False}; part of the run
        dtype, device    auto: float32 on a CPU, bfloat16 on a GPU
        memory_gib       bound on the engine's memory; None leaves it half of what is free
    reward
        reward_range     (lo, hi) the total can take; None: the reward's own, or what is seen
        reward_weights   one per reward; None: 1 each
        reward_timeout_s a reward call that takes longer is a failure of its row
    judging
        group_size, target_error, worst_case, advantage    see `JudgeSettings`
        top_reachable    every prompt can earn the top of the range, as under a verifier with partial credit
        deterministic_reward    the same completion always earns the same, so that verdicts may be proved and equal ones are scored once
        answer_col       the column with real answers: what they earn is what a prompt can be expected to earn
        cluster_col      the column with the task of each prompt: limits of shares and forecast are then for prompts of other tasks; "none":
                         for further prompts of the same ones; None: `task`, where prompts name five tasks or more
    gradients
        gradients             also measure gradient norms: hf or openvino, and a backward pass per completion
        gradient_completions  per prompt, for that, drawn beside the run's; at least 4
    prompts
        prompt_col, id_col, limit   the columns of the prompt file, and how many of its rows to take
        prompt_template  makes the text of each prompt of its columns, as "Question: {question}"; None: it stands in prompt_col
    out                  the run folder; None names one under runs/ by what it holds
    """

    max_completions: int = 64
    fixed_completions: bool = False
    max_generations: int | None = None
    round_size: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    seed: int = 0
    engine: str = "auto"
    base_url: tuple[str, ...] = ()
    served_name: str | None = None
    tensor_parallel: int = 1
    worker_engine: str = "auto"
    workers: int = 2
    ray_address: str | None = None
    concurrency: int = 64
    chat_template_kwargs: Mapping[str, Any] | None = None
    dtype: str = "auto"
    device: str = "auto"
    memory_gib: float | None = None
    reward_range: tuple[float, float] | None = None
    reward_weights: tuple[float, ...] | None = None
    reward_timeout_s: float = 10.0
    group_size: int = 8
    target_error: float = 0.03
    worst_case: bool = False
    advantage: Advantage | None = None
    top_reachable: bool = False
    deterministic_reward: bool = False
    answer_col: str | None = None
    cluster_col: str | None = None
    gradients: bool = False
    gradient_completions: int = 16
    prompt_col: str = "prompt"
    prompt_template: str | None = None
    id_col: str = "id"
    limit: int | None = None
    out: str | Path | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        for name in ("reward_range", "reward_weights", "base_url"):  # given as a list or an array, say
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(values))
        if self.chat_template_kwargs is not None:
            object.__setattr__(self, "chat_template_kwargs", _template_values(self.chat_template_kwargs))
        if self.max_completions < 1:
            raise SettingsError(f"--max-completions must be at least 1, got {self.max_completions}")
        if self.max_completions > MOST_WEIGHED and not self.fixed_completions:
            raise SettingsError(
                f"--max-completions must be at most {MOST_WEIGHED} where every next completion is weighed, for the memory grows with "
                f"its square; got {self.max_completions}. Add --fixed-completions to draw that many of every prompt"
            )
        if self.round_size is not None and self.round_size < 1:
            raise SettingsError(f"--round-size must be at least 1, got {self.round_size}")
        if self.fixed_completions and (self.max_generations is not None or self.round_size is not None):
            raise SettingsError(
                "--fixed-completions draws --max-completions of every prompt: --max-generations and --round-size do not apply"
            )
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise SettingsError(f"--memory-gib must be a finite number above 0, got {self.memory_gib:g}")
        if self.reward_range is not None and not all(abs(limit) <= LARGEST_REWARD for limit in self.reward_range):
            lo, hi = self.reward_range
            raise SettingsError(f"--reward-range must lie within ±{LARGEST_REWARD:g}, got {lo:g} {hi:g}")
        if self.reward_weights is not None and not all(math.isfinite(weight) for weight in self.reward_weights):
            raise SettingsError(f"--reward-weight must be finite numbers, got {', '.join(f'{weight:g}' for weight in self.reward_weights)}")
        if not 0 < self.reward_timeout_s < math.inf:
            raise SettingsError(f"--reward-timeout must be a finite number of seconds above 0, got {self.reward_timeout_s:g}")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"--limit must be at least 1, got {self.limit}")
        if self.gradient_completions < 4:
            raise SettingsError(f"--gradient-completions must be at least 4, two for each half; got {self.gradient_completions}")
        _check_servers(self)
        _ = self.sampling  # computed to be checked: a wrong setting speaks now, not after the run

    @property
    def sampling(self) -> Sampling:
        """The part of the settings that an engine sees."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_new_tokens)


# arguments of `apply_chat_template` that are no values of the template, or are ours to give
_NO_VALUES = frozenset({
    "conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize", "tokenizer_kwargs",
    "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
})  # fmt: skip


def _template_values(values: object) -> dict[str, Json] | None:
    """The values for a chat template, in JSON's own types; None where there are none. Raises `SettingsError` for what is no object."""
    what = "--chat-template-kwargs expects a JSON object of values for the chat template, as '{\"enable_thinking\": false}'"
    if not isinstance(values, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in values):
        raise SettingsError(f"{what}, got {values!r:.80}")
    if reserved := sorted(_NO_VALUES & values.keys()):
        raise SettingsError(f"{what}, and {', '.join(reserved)} is none of these: flatspot decides how prompts are encoded")
    try:
        plain: dict[str, Json] = json.loads(json.dumps(dict(values), allow_nan=False, sort_keys=True))
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{what}: {error}") from None
    return plain or None


def _check_servers(settings: Settings) -> None:
    """Addresses and the engine belong together: with them, auto is openai."""
    if settings.base_url and settings.engine == "auto":
        object.__setattr__(settings, "engine", "openai")
    if settings.base_url and settings.engine != "openai":
        raise SettingsError(f"--base-url is for --engine openai, got --engine {settings.engine}")
    if settings.engine == "openai" and not settings.base_url:
        raise SettingsError("--engine openai needs the address of a server: --base-url http://localhost:8000/v1")
    _check_workers(settings)
    if settings.tensor_parallel < 1:
        raise SettingsError(f"--tensor-parallel must be at least 1, got {settings.tensor_parallel}")
    if settings.concurrency < 1:
        raise SettingsError(f"--concurrency must be at least 1, got {settings.concurrency}")


def _check_workers(settings: Settings) -> None:
    """What is for workers, and what is for vllm, here or in workers."""
    sampling = settings.worker_engine if settings.engine == "ray" else settings.engine
    if settings.tensor_parallel > 1 and sampling != "vllm":
        raise SettingsError(f"--tensor-parallel is for --engine vllm, got --engine {sampling}")
    if settings.engine != "ray" and (settings.worker_engine, settings.workers, settings.ray_address) != ("auto", 2, None):
        raise SettingsError(f"--worker-engine, --workers and --ray-address are for --engine ray, got --engine {settings.engine}")
    if settings.worker_engine in ("ray", "openai"):
        raise SettingsError(f"--worker-engine is hf, openvino, vllm or scripted, got {settings.worker_engine}: servers need no workers")
    if settings.workers < 1:
        raise SettingsError(f"--workers must be at least 1, got {settings.workers}")


_WHOLE = (
    "max_completions",
    "top_k",
    "max_new_tokens",
    "seed",
    "group_size",
    "gradient_completions",
    "max_generations",
    "round_size",
    "limit",
    "concurrency",
    "tensor_parallel",
    "workers",
)
_REAL = ("temperature", "top_p", "reward_timeout_s", "target_error", "memory_gib")
_FLAGS = ("fixed_completions", "worst_case", "top_reachable", "deterministic_reward", "gradients")
_TEXT = (
    "engine",
    "dtype",
    "device",
    "advantage",
    "prompt_col",
    "id_col",
    "answer_col",
    "cluster_col",
    "served_name",
    "ray_address",
    "prompt_template",
    "worker_engine",
)


def _check_kinds(settings: Settings) -> None:
    """A number where one belongs: "64" or 3.5 completions fail here, not after the run."""
    optional = (
        "max_generations",
        "round_size",
        "limit",
        "memory_gib",
        "advantage",
        "answer_col",
        "cluster_col",
        "served_name",
        "ray_address",
        "prompt_template",
        "out",
    )
    kinds = (
        (_WHOLE, Integral, "a whole number"),
        (_REAL, Real, "a number"),
        (_FLAGS, bool, "True or False"),
        (_TEXT, str, "text"),
        (("out",), str | Path, "text or a Path"),
    )
    for names, kind, word in kinds:
        for name in names:
            value = getattr(settings, name)
            fits = _is_number(value) if kind is Real else isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            if not fits and not (value is None and name in optional):
                raise SettingsError(f"{name} is {word}, got {value!r:.80}")
    urls: object = settings.base_url
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        raise SettingsError(f"base_url is a list of addresses, got {urls!r:.80}")
    limits, weights = settings.reward_range, settings.reward_weights
    if limits is not None and not (_are_numbers(limits) and len(limits) == 2):
        raise SettingsError(f"reward_range is two numbers, the smallest and the largest total, got {limits!r:.80}")
    if weights is not None and not _are_numbers(weights):
        raise SettingsError(f"reward_weights are numbers, one per reward, got {weights!r:.80}")


def _are_numbers(values: object) -> bool:
    return isinstance(values, Collection) and all(map(_is_number, values))


def _is_number(value: object) -> bool:
    """Whether a value is a number, and no whole number that is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return not (isinstance(value, Integral) and abs(int(value)) > sys.float_info.max)
