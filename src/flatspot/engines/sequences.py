"""Batches of completions as token ids: sampled, and re-evaluated in one padded, differentiable forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatspot.core.protocols import OnTokens
from flatspot.core.records import Sampling
from flatspot.engines.decode import Mode, decode, decoder_start, forward_arguments
from flatspot.engines.policy import Policy
from flatspot.engines.sampling import draw, shape_logits, uniforms

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Ints = NDArray[np.int64]
Ids = Sequence[Sequence[int]]
"""Token ids of several rows, none of them empty."""
Places = tuple[Ints, Ints]
"""Tokens of completions: the index of the row, and the position in its completion."""


class Drawn(NamedTuple):
    """The token ids of a sampled completion, its end token included, and their log-probability under the law they were drawn from."""

    ids: list[int]
    logprob: float


def draw_batch(
    policy: Policy,
    prompts: Ids,
    seeds: Sequence[int],
    sampling: Sampling,
    mode: Mode,
    *,
    copies: Sequence[int] | None = None,
    on_tokens: OnTokens | None = None,
) -> list[Drawn]:
    """One completion per seed, including its end token if it has one: `copies` of them for each prompt, by default one.

    Raises FloatingPointError if the policy's logits define no distribution.
    """
    import torch

    numbers = torch.from_numpy(uniforms(seeds, sampling.max_new_tokens)).to(policy.device)
    log_probs = torch.zeros_like(numbers)

    def pick(logits: Tensor, row: Tensor, step: int) -> Tensor:
        tokens, log_probs[row, step] = draw(shape_logits(logits, sampling), numbers[row, step])
        return tokens

    rows = decode(policy, prompts, copies or [1] * len(prompts), sampling.max_new_tokens, pick, mode=mode, on_tokens=on_tokens)
    # an ended row may have been carried along: what was picked for it later is no part of it
    so_far = log_probs.cumsum(-1).cpu().numpy()
    return [Drawn(ids, float(so_far[i, len(ids) - 1])) for i, ids in enumerate(rows)]


def token_logits(policy: Policy, prompts: Ids, completions: Ids, at: Places, *, share: bool = False) -> Tensor:
    """The logits [token, vocabulary] from which the tokens `at` were sampled, before any temperature. Differentiable.

    share  read each distinct prompt once, also in the backward pass, and let its rows share its keys and values: less work where a prompt
           has several rows. Only for a causal model with a cache of plain layers and with positions that can be said (the decoding mode
           "prefixed"); others are read row by row

    Rows are padded on the right, which no earlier position attends to.
    """
    kwargs, firsts = _inputs(policy, policy.model, prompts, completions, share)
    offset = 0
    if not policy.encoder_decoder and "logits_to_keep" in forward_arguments(policy.model):
        offset = int(firsts.min())  # no logits for positions that belong to the prompt in every row
        kwargs["logits_to_keep"] = kwargs["input_ids"].shape[1] - offset
    return policy.model(**kwargs).logits[at[0], firsts[at[0]] - offset + at[1]]


def token_states(policy: Policy, model: Module, prompts: Ids, completions: Ids, at: Places, *, share: bool = False) -> Tensor:
    """The last hidden states [token, hidden] of `model`, a copy of the policy, at the positions of `token_logits`."""
    kwargs, firsts = _inputs(policy, model, prompts, completions, share)
    if "logits_to_keep" in forward_arguments(model):
        kwargs["logits_to_keep"] = 1
    return _last_states(policy, model(**kwargs, output_hidden_states=True))[at[0], firsts[at[0]] + at[1]]


def token_logits_and_states(policy: Policy, prompts: Ids, completions: Ids, at: Places, *, share: bool = False) -> tuple[Tensor, Tensor]:
    """`token_logits` and the policy's own `token_states`, of one forward pass."""
    kwargs, firsts = _inputs(policy, policy.model, prompts, completions, share)
    out = policy.model(**kwargs, output_hidden_states=True)
    where = (at[0], firsts[at[0]] + at[1])
    return out.logits[where], _last_states(policy, out)[where]


def _last_states(policy: Policy, out: Any) -> Tensor:
    states: Tensor = (out.decoder_hidden_states if policy.encoder_decoder else out.hidden_states)[-1]
    return states


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32 if their type has fewer bits, else as they are."""
    return values if values.dtype.itemsize >= 4 else values.float()


def log_prob_and_entropy(logits: Tensor, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """log p of tokens and the entropies of their distributions, from logits [token, vocabulary]: [token] each."""
    import torch

    log_p = torch.log_softmax(at_least_float32(logits), -1)
    index = torch.tensor(tokens, device=logits.device).unsqueeze(-1)
    finite = log_p.clamp(min=torch.finfo(log_p.dtype).min)  # a token with a logit of −inf adds 0 to the entropy, not NaN
    return log_p.gather(-1, index).squeeze(-1), -(log_p.exp() * finite).sum(-1)


def _inputs(policy: Policy, model: Any, prompts: Ids, completions: Ids, share: bool) -> tuple[dict[str, Any], Ints]:
    """Arguments of the model's forward, and the position whose logits give each row's first token."""
    if policy.encoder_decoder:
        source, mask = _padded(policy, prompts)
        start = decoder_start(policy)
        target, _ = _padded(policy, [[start, *ids[:-1]] for ids in completions])
        kwargs = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": target, "use_cache": False}
        return kwargs, np.zeros(len(prompts), dtype=np.int64)
    if share and len({tuple(prompt) for prompt in prompts}) < len(prompts) and min(map(len, prompts)) > 1:
        return _after_prefixes(policy, model, prompts, completions), np.zeros(len(prompts), dtype=np.int64)
    whole, mask = _padded(policy, [[*prompt, *ids[:-1]] for prompt, ids in zip(prompts, completions, strict=True)])
    return {"input_ids": whole, "attention_mask": mask, "use_cache": False}, np.array([len(prompt) - 1 for prompt in prompts])


def _after_prefixes(policy: Policy, model: Any, prompts: Ids, completions: Ids) -> dict[str, Any]:
    """Arguments that continue a cache of each distinct prompt but its last token: that token, and the completion.

    A prompt shorter than the longest leaves a gap behind it, which the mask hides and positions do not count.
    """
    import torch

    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    place = {prompt: i for i, prompt in enumerate(distinct)}
    ids, mask = _padded(policy, [prompt[:-1] for prompt in distinct])
    extra = {"logits_to_keep": 1} if "logits_to_keep" in forward_arguments(model) else {}
    cache = model(input_ids=ids, attention_mask=mask, use_cache=True, **extra).past_key_values
    rows = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=policy.device)
    cache.batch_select_indices(rows)
    ids, own = _padded(policy, [[prompt[-1], *tokens[:-1]] for prompt, tokens in zip(prompts, completions, strict=True)])
    whole = torch.cat([mask[rows], own], dim=1)
    positions = (whole.cumsum(-1) - 1)[:, mask.shape[1] :]
    return {"input_ids": ids, "attention_mask": whole, "position_ids": positions, "past_key_values": cache, "use_cache": True}


def _padded(policy: Policy, rows: Ids) -> tuple[Tensor, Tensor]:
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[policy.pad_id] * (longest - len(row))] for row in rows], device=policy.device)
    return ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=policy.device)
