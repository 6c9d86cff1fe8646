"""Many completions at once as token ids: drawn, and read again in one padded, differentiable forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flatspot.core.protocols import OnTokens
from flatspot.core.records import Sampling
from flatspot.engines.decode import Mode, decode, decoder_start, forward_arguments
from flatspot.engines.policy import Policy
from flatspot.engines.sampling import draw, shape_logits, uniforms

Ints = np.ndarray[Any, np.dtype[np.int64]]
Ids = Sequence[Sequence[int]]
"""Token ids of several rows, none of them empty."""
Places = tuple[Ints, Ints]
"""Tokens of completions: the number of the row, and the place in its completion."""


def draw_batch(
    policy: Policy,
    prompts: Ids,
    seeds: Sequence[int],
    sampling: Sampling,
    mode: Mode,
    *,
    copies: Sequence[int] | None = None,
    on_tokens: OnTokens | None = None,
) -> list[list[int]]:
    """One completion per seed, with its end token where it ended: `copies` of them for each prompt, by default one.

    Raises FloatingPointError where the policy has no distribution to draw from: its logits are NaN.
    """
    import torch

    numbers = torch.from_numpy(uniforms(seeds, sampling.max_new_tokens)).to(policy.device)

    def pick(logits: Any, row: Any, step: int) -> Any:
        return draw(shape_logits(logits, sampling), numbers[row, step])

    return decode(policy, prompts, copies or [1] * len(prompts), sampling.max_new_tokens, pick, mode=mode, on_tokens=on_tokens)


def token_logits(policy: Policy, prompts: Ids, completions: Ids, at: Places) -> Any:
    """What the tokens `at` were drawn from: logits [token, vocabulary], before any temperature. Differentiable.

    Rows are padded on the right, where nothing that stands before can see it.
    """
    kwargs, firsts = _inputs(policy, prompts, completions)
    skipped = 0
    if not policy.encoder_decoder and "logits_to_keep" in forward_arguments(policy.model):
        skipped = int(firsts.min())  # no logits for what is prompt in every row
        kwargs["logits_to_keep"] = kwargs["input_ids"].shape[1] - skipped
    return policy.model(**kwargs, use_cache=False).logits[at[0], firsts[at[0]] - skipped + at[1]]


def token_states(policy: Policy, model: Any, prompts: Ids, completions: Ids, at: Places) -> Any:
    """The last hidden states [token, hidden] of `model`, a copy of the policy, where `token_logits` has the logits."""
    kwargs, firsts = _inputs(policy, prompts, completions)
    if "logits_to_keep" in forward_arguments(model):
        kwargs["logits_to_keep"] = 1
    out = model(**kwargs, use_cache=False, output_hidden_states=True)
    states = out.decoder_hidden_states if policy.encoder_decoder else out.hidden_states
    return states[-1][at[0], firsts[at[0]] + at[1]]


def log_prob_and_entropy(logits: Any, tokens: Sequence[int]) -> tuple[Any, Any]:
    """log p of tokens and the entropy of the whole distributions, from logits [token, vocabulary]: [token] each."""
    import torch

    log_p = torch.log_softmax(logits if logits.dtype.itemsize >= 4 else logits.float(), -1)
    chosen = torch.tensor(tokens, device=logits.device).unsqueeze(-1)
    finite = log_p.clamp(min=torch.finfo(log_p.dtype).min)  # a token with a logit of −inf adds 0 to the entropy, not NaN
    return log_p.gather(-1, chosen).squeeze(-1), -(log_p.exp() * finite).sum(-1)


def _inputs(policy: Policy, prompts: Ids, completions: Ids) -> tuple[dict[str, Any], Ints]:
    """Arguments of the model's forward, and the column that each row's first token was drawn from."""
    if policy.encoder_decoder:
        source, mask = _padded(policy, prompts)
        start = decoder_start(policy)
        target, _ = _padded(policy, [[start, *ids[:-1]] for ids in completions])
        return {"input_ids": source, "attention_mask": mask, "decoder_input_ids": target}, np.zeros(len(prompts), dtype=np.int64)
    whole, mask = _padded(policy, [[*prompt, *ids[:-1]] for prompt, ids in zip(prompts, completions, strict=True)])
    return {"input_ids": whole, "attention_mask": mask}, np.array([len(prompt) - 1 for prompt in prompts])


def _padded(policy: Policy, rows: Ids) -> tuple[Any, Any]:
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[policy.pad_id] * (longest - len(row))] for row in rows], device=policy.device)
    return ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=policy.device)
