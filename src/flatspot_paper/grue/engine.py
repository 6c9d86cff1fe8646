"""Sampling with transformers' `generate`, which can forbid the end of a completion before so many tokens; for the paper's policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, Sampling
from flatspot.engines.policy import Policy
from flatspot.engines.prompts import encode_requests, no_completion, to_completion
from flatspot.engines.sampling import draw, shape_logits, uniforms

if TYPE_CHECKING:
    from torch import Tensor


class GenerateEngine:
    """An engine for causal and encoder–decoder models that draws no end token before `min_new_tokens`.

    transformers decodes greedily, and what it is given to be greedy about is the token that flatspot draws: so a row's tokens depend on its
    seed, and not on the other rows of its batch, apart from float rounding.
    """

    name = "generate"

    def __init__(self, policy: Policy, *, min_new_tokens: int = 0, batch: int = 64) -> None:
        self.policy = policy
        self.min_new_tokens = min_new_tokens
        self.rows_per_call = 4 * batch
        self._batch = batch
        self.notes: list[str] = list(policy.notes)

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests; one with an error for a prompt that does not fit the context."""
        encoded, problems = encode_requests(self.policy, requests, sampling, self.notes)
        completions = {(i, j): no_completion(why) for i, why in problems.items() for j in range(len(requests[i].seeds))}
        # prompts of like lengths together: a batch is as long as its longest
        rows = sorted(((i, j, seed) for i in encoded for j, seed in enumerate(requests[i].seeds)), key=lambda row: len(encoded[row[0]]))
        for start in range(0, len(rows), self._batch):
            batch = rows[start : start + self._batch]
            drawn = self._draw([encoded[i] for i, _, _ in batch], [seed for _, _, seed in batch], sampling)
            for (i, j, _), ids in zip(batch, drawn, strict=True):
                completions[i, j] = to_completion(self.policy, ids, sampling.max_new_tokens)
            if on_tokens is not None:
                on_tokens(sum(map(len, drawn)))
                tell_completed(on_tokens, len(batch))
        return [[completions[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]

    def describe(self) -> Mapping[str, Json]:
        """Policy, dtype, device kind, and when a completion may end first."""
        return {
            "engine": self.name,
            **self.policy.describe(),
            "dtype": self.policy.dtype,
            "device": self.policy.device.split(":")[0],
            "min_new_tokens": self.min_new_tokens,
            "versions": {package: version(package) for package in ("torch", "transformers")},
        }

    def _draw(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling) -> list[list[int]]:
        """The new tokens of each row, its end token included."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        policy, longest = self.policy, max(map(len, prompts))
        ids = torch.full((len(prompts), longest), policy.pad_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        before = 1 if policy.encoder_decoder else longest
        drawing = _Drawing(uniforms(seeds, sampling.max_new_tokens), sampling, policy.eos_ids, self.min_new_tokens, before)
        own = policy.model.generation_config
        if policy.encoder_decoder and (start := _start_token(policy.model.config, own)) is None:
            raise EngineError(f"{policy.name} has an encoder and no decoder_start_token_id: add it to its config.json")
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(policy.eos_ids) or None,
            pad_token_id=policy.pad_id,
            decoder_start_token_id=start if policy.encoder_decoder else None,
        )
        with torch.inference_mode():
            tokens = policy.model.generate(
                input_ids=ids.to(policy.device),
                attention_mask=mask.to(policy.device),
                generation_config=config,
                logits_processor=LogitsProcessorList([drawing]),
            )
        return [_until_end(row[before:].tolist(), policy.eos_ids) for row in tokens]


class _Drawing:
    """Logits of a step → 0 for the token that is drawn, minus infinity for the others."""

    def __init__(self, uniform: Any, sampling: Sampling, eos_ids: Sequence[int], least: int, before: int) -> None:
        import torch

        self._uniform = torch.from_numpy(uniform)
        self._sampling, self._eos, self._least, self._before = sampling, list(eos_ids), least, before

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        step = input_ids.shape[1] - self._before
        scores = scores.float().clone()
        if step < self._least and self._eos:
            scores[:, self._eos] = -torch.inf
        token, _ = draw(shape_logits(scores, self._sampling), self._uniform[:, step].to(scores.device))
        return torch.full_like(scores, -torch.inf).scatter(1, token.unsqueeze(1), 0.0)


def _start_token(config: Any, generation: Any) -> int | None:
    """The token that starts what an encoder–decoder model writes."""
    named = (getattr(place, "decoder_start_token_id", None) for place in (generation, config))
    return next((token for token in named if token is not None), None)


def _until_end(tokens: list[int], eos_ids: Sequence[int]) -> list[int]:
    """The tokens up to the first end token: what follows it is padding."""
    end = next((place for place, token in enumerate(tokens) if token in eos_ids), None)
    return tokens if end is None else tokens[: end + 1]
