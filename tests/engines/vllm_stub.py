"""A `vllm` of exactly the surface that flatspot uses, which draws from transformers' forward pass and refuses every other argument."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch
from transformers import AutoModelForCausalLM

NAMES = {
    "LLM": {
        "model", "dtype", "seed", "generation_config", "enable_prefix_caching", "logprobs_mode", "tensor_parallel_size",
        "enable_sleep_mode", "kv_cache_memory_bytes", "gpu_memory_utilization", "enable_chunked_prefill", "max_num_batched_tokens",
        "max_model_len",
    },
    "SamplingParams": {
        "n", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logprobs", "stop_token_ids", "ignore_eos",
        "detokenize", "temperature", "top_p", "top_k", "seed", "max_tokens",
    },
    "RequestOutput": {"outputs"},
    "CompletionOutput": {"token_ids", "cumulative_logprob", "logprobs"},
    "Logprob": {"logprob"},
    "generate": {"prompts", "sampling_params", "use_tqdm"},
    "sleep": {"level"},
    "wake_up": {"tags"},
    "collective_rpc": {"method", "kwargs"},
    "reload_weights": {"weights_path"},
}  # fmt: skip


@dataclass(kw_only=True)
class SamplingParams:
    n: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logprobs: int
    stop_token_ids: list
    ignore_eos: bool
    detokenize: bool
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    max_tokens: int


class LLM:
    """Rows one at a time; `wrong` makes every logit another one, and `told` has what it was told to do, in order."""

    wrong = 0.0
    opened: ClassVar[list] = []
    told: ClassVar[list] = []

    def __init__(self, *, model, **settings):
        assert settings.keys() | {"model"} <= NAMES["LLM"]
        assert settings["generation_config"] == "vllm" and settings["logprobs_mode"] == "processed_logprobs"
        LLM.opened.append(settings)
        self.dtype, self.sleeping = getattr(torch, settings["dtype"]), set()
        self._load(model)

    def _load(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype).eval()

    def generate(self, prompts, sampling_params, *, use_tqdm):
        assert len(prompts) == len(sampling_params)
        assert not self.sleeping, "asleep, as vLLM is until all of it is awake"
        LLM.told.append("generate")
        speed = "est. speed input: {:.2f} toks/s, output: {:.2f} toks/s"
        bar = use_tqdm and use_tqdm(total=len(prompts), desc="Processed prompts", dynamic_ncols=True, postfix=speed.format(0, 0))
        outputs, tokens = [], 0
        for prompt, params in zip(prompts, sampling_params, strict=True):
            outputs.append(self._drawn(prompt["prompt_token_ids"], params))
            if bar:
                tokens += len(outputs[-1].outputs[0].token_ids)
                bar.postfix = speed.format(0, tokens / bar.format_dict["elapsed"])
                bar.update(1)
                if bar.n == len(prompts):
                    bar.refresh()
        if bar:
            bar.close()
        return outputs

    def sleep(self, *, level):
        assert level == 2 and not self.sleeping
        LLM.told.append("sleep")
        self.sleeping, self.model = {"weights", "kv_cache"}, None

    def wake_up(self, *, tags):
        assert {*tags} <= self.sleeping
        self.sleeping -= {*tags}

    def collective_rpc(self, method, *, kwargs):
        """After the memory of the weights is back, before the scheduler runs."""
        assert method == "reload_weights" and kwargs.keys() == {"weights_path"} and self.sleeping == {"kv_cache"}
        LLM.told.append("reload_weights")
        self._load(kwargs["weights_path"])

    def _drawn(self, ids, params):
        assert 0 <= params.temperature <= 2
        generator = None if params.seed is None else torch.Generator().manual_seed(params.seed)
        tokens, logprobs = [], []
        while len(tokens) < params.max_tokens:
            with torch.inference_mode():
                logits = self.model(torch.tensor([[*ids, *tokens]])).logits[0, -1].float()
            logits = logits + self.wrong * torch.arange(len(logits)) / len(logits)
            law = torch.log_softmax(_filtered(logits, params), -1)
            token = int(logits.argmax()) if params.temperature == 0 else int(torch.multinomial(law.exp(), 1, generator=generator))
            tokens.append(token)
            logprobs.append({token: SimpleNamespace(logprob=float(law[token]))})
            if token in params.stop_token_ids and not params.ignore_eos:
                break
        total = sum(at[token].logprob for token, at in zip(tokens, logprobs, strict=True))
        row = SimpleNamespace(token_ids=tokens, cumulative_logprob=total, logprobs=logprobs)
        return SimpleNamespace(outputs=[row])


def _filtered(logits, params):
    logits = logits if params.temperature == 0 else logits / params.temperature
    if params.top_k > 0:
        logits = torch.where(logits < logits.topk(params.top_k).values[-1], -torch.inf, logits)
    if params.top_p < 1:
        share, order = logits.softmax(-1).sort(descending=True)
        logits = logits.clone()
        logits[order[share.cumsum(-1) - share >= params.top_p]] = -torch.inf
    return logits


def install(monkeypatch):
    """Let this be `vllm`, of which nothing is open and which was told nothing, until the test ends."""
    monkeypatch.setitem(sys.modules, "vllm", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr(LLM, "opened", [])
    monkeypatch.setattr(LLM, "told", [])


platforms = SimpleNamespace(current_platform=SimpleNamespace(is_cpu=lambda: True))
