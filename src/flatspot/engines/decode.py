"""A decode loop around an unchanged transformers model: one prefill per prompt, its cache shared by all its rows.

A *row* is one completion in progress. Rows of a prompt share its prefill, and prompts that begin alike share that of their beginning. As
long as their tokens are equal, too, they are one node of a tree (`tree`), and one row of the cache, whose buffers are preallocated for
the tokens and nodes to come; a node goes when its rows have ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from flatspot.core.errors import EngineError
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.engines.policy import Policy
from flatspot.engines.prefixes import split_prefixes
from flatspot.engines.tree import split

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, PreTrainedModel

# prefixed  as shared, and what several prompts begin with is read once: needs a cache of plain layers, and positions that can be said
# shared    one prefill per prompt, prompts of unequal length side by side, ended rows dropped: needs a cache that can select rows
# repeated  one prompt at a time, its ids repeated before the prefill, ended rows carried along: needs any cache
# uncached  one prompt at a time, the whole sequence recomputed at each step: needs nothing
Mode = Literal["prefixed", "shared", "repeated", "uncached"]
MODES: tuple[Mode, ...] = ("prefixed", "shared", "repeated", "uncached")

Pick: TypeAlias = "Callable[[Tensor, Tensor, int], Tensor]"
"""(logits [row, token], row numbers [row], step) → tokens [row]."""


@dataclass
class _Rows:
    """The rows in progress.

    number  the row at place i of the batch
    ended   whether the row at place i has ended and only pads the batch
    tokens  of every row, in the order of their numbers; rows that have left the batch included
    """

    number: Tensor
    ended: Tensor
    tokens: list[list[int]]


@dataclass
class _Context:
    """The model's inputs beside the next token of each row: attention mask, cache, and the encoder's states if it has an encoder."""

    mask: Tensor
    cache: Cache
    encoded: Tensor | None


def decode(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    copies: Sequence[int],
    limit: int,
    pick: Pick,
    *,
    mode: Mode = "shared",
    on_tokens: OnTokens | None = None,
) -> list[list[int]]:
    """The tokens of `sum(copies)` rows, `copies[p]` of them for prompt p, in the order of the prompts.

    A row ends with the first end token, which is its last, or after `limit` tokens.
    """
    import torch

    with torch.inference_mode():
        if mode in ("prefixed", "shared"):
            read = _prefill_prefixed if mode == "prefixed" else _prefill
            return _tree(policy, read(policy, prompts), copies, limit, pick, on_tokens)
        one_prompt = _cached_alone if mode == "repeated" else _uncached
        rows: list[list[int]] = []
        for prompt, n in zip(prompts, copies, strict=True):
            rows += one_prompt(policy, prompt, n, limit, pick, len(rows), on_tokens)
        return rows


def _cached_alone(
    policy: Policy, prompt: Sequence[int], copies: int, limit: int, pick: Pick, first: int, on_tokens: OnTokens | None
) -> list[list[int]]:
    return _cached(policy, _prefill(policy, [prompt] * copies), copies, limit, pick, first, on_tokens)


def _cached(
    policy: Policy,
    prefilled: tuple[Tensor, _Context],
    n: int,
    limit: int,
    pick: Pick,
    first: int,
    on_tokens: OnTokens | None,
) -> list[list[int]]:
    """Decode n rows with a cache that need not repeat or drop rows; `first` is the number of the first one."""
    import torch

    logits, context = prefilled
    rows = _rows(policy, n, first)
    eos = torch.tensor(policy.eos_ids, dtype=torch.long, device=policy.device)
    n_reported = 0  # rows in the batch that were reported as complete
    for step in range(limit):
        tokens = pick(logits, rows.number, step)
        _record(rows, tokens, first, on_tokens)
        rows.ended = rows.ended | torch.isin(tokens, eos)
        n_ended = int(rows.ended.sum())
        last = n_ended == len(rows.ended) or step == limit - 1
        n_complete = len(rows.ended) if last else n_ended
        tell_completed(on_tokens, n_complete - n_reported)
        if last:
            break
        n_reported = n_complete
        logits = _advance(policy, context, torch.where(rows.ended, policy.pad_id, tokens))
    return rows.tokens


def _tree(
    policy: Policy, prefilled: tuple[Tensor, _Context], copies: Sequence[int], limit: int, pick: Pick, on_tokens: OnTokens | None
) -> list[list[int]]:
    """Decode with a cache that can repeat and drop rows: those of a prompt that are equal so far as one node."""
    import torch

    from flatspot.engines.kv_cache import preallocate

    logits, context = prefilled
    node, number = np.repeat(np.arange(len(copies)), copies), np.arange(sum(copies))
    nodes, drawn = len(copies), [list[int]() for _ in number]
    preallocate(context.cache, torch.arange(nodes, device=policy.device), limit, max(nodes, len(number)))
    for step in range(limit):
        at = torch.as_tensor(node, device=policy.device)
        tokens = pick(logits[at], torch.as_tensor(number, device=policy.device), step).cpu().numpy()
        for row, token in zip(number.tolist(), tokens.tolist(), strict=True):
            drawn[row].append(token)
        if on_tokens is not None:
            on_tokens(len(number))
        alive = ~np.isin(tokens, policy.eos_ids) if step < limit - 1 else np.zeros(len(tokens), bool)
        tell_completed(on_tokens, int((~alive).sum()))
        if not alive.any():
            break
        number = number[alive]
        parent, own, node = split(node[alive], tokens[alive], nodes)
        places = torch.as_tensor(parent, device=policy.device)
        if len(parent) != nodes or (parent != np.arange(nodes)).any():
            context.cache.batch_select_indices(places)
            _select_inputs(context, places)
        nodes = len(parent)
        logits = _advance(policy, context, torch.as_tensor(np.where(own < 0, policy.pad_id, own), device=policy.device))
    return drawn


def _rows(policy: Policy, n: int, first: int) -> _Rows:
    import torch

    number = torch.arange(n, device=policy.device) + first
    return _Rows(number, torch.zeros(n, dtype=torch.bool, device=policy.device), [[] for _ in range(n)])


def _record(rows: _Rows, tokens: Tensor, first: int, on_tokens: OnTokens | None) -> None:
    alive = ~rows.ended
    for number, token in zip(rows.number[alive].tolist(), tokens[alive].tolist(), strict=True):
        rows.tokens[number - first].append(token)
    if on_tokens is not None:
        on_tokens(int(alive.sum()))


def _select_inputs(context: _Context, places: Tensor) -> None:
    context.mask = context.mask[places]
    if context.encoded is not None:
        context.encoded = context.encoded[places]


def _prefill(policy: Policy, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, _Context]:
    """Logits after each prompt, and the resulting cache. Prompts of a decoder are padded on the left, of an encoder on the right."""
    import torch

    ids, mask = _pad(policy, prompts, left=not policy.encoder_decoder)
    if not policy.encoder_decoder:
        out = policy.model(input_ids=ids, attention_mask=mask, use_cache=True, **_extras(policy, mask, ids.shape[1]))
        return out.logits[:, -1], _Context(mask, out.past_key_values, None)
    encoded = policy.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    start = torch.full((len(ids), 1), decoder_start(policy), device=policy.device)
    out = policy.model(encoder_outputs=(encoded,), attention_mask=mask, decoder_input_ids=start, use_cache=True)
    return out.logits[:, -1], _Context(mask, out.past_key_values, encoded)


def _prefill_prefixed(policy: Policy, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, _Context]:
    """As `_prefill`, but what several prompts begin with is read once, if that is less work.

    A row of the cache is a prefix, padded on the left, and then the rest of the prompt, padded on the left. The mask hides the gap between
    them, and positions do not count it; a window over the cache would: ValueError for a cache with other than plain layers.
    """
    import torch

    from flatspot.engines.kv_cache import is_plain

    split = split_prefixes(prompts)
    if split is None:
        return _prefill(policy, prompts)
    _, context = _prefill(policy, split.prefixes)
    if not is_plain(context.cache) or "position_ids" not in forward_arguments(policy.model):
        raise ValueError("its cache or its positions allow no gaps")
    context.cache.batch_select_indices(torch.tensor(split.of, device=policy.device))
    ids, mask = _pad(policy, split.rests, left=True)
    mask = torch.cat([context.mask[split.of], mask], dim=1)
    out = policy.model(
        input_ids=ids, attention_mask=mask, past_key_values=context.cache, use_cache=True, **_extras(policy, mask, ids.shape[1])
    )
    return out.logits[:, -1], _Context(mask, out.past_key_values, None)


def _advance(policy: Policy, context: _Context, tokens: Tensor) -> Tensor:
    """Logits after one more token per row."""
    ids = tokens.unsqueeze(-1)
    if policy.encoder_decoder:
        out = policy.model(
            encoder_outputs=(context.encoded,),
            attention_mask=context.mask,
            decoder_input_ids=ids,
            past_key_values=context.cache,
            use_cache=True,
        )
    else:
        context.mask = _longer(context.mask)
        out = policy.model(
            input_ids=ids, attention_mask=context.mask, past_key_values=context.cache, use_cache=True, **_extras(policy, context.mask, 1)
        )
    context.cache = out.past_key_values
    return out.logits[:, -1]


def _uncached(
    policy: Policy, prompt: Sequence[int], copies: int, limit: int, pick: Pick, first: int, on_tokens: OnTokens | None
) -> list[list[int]]:
    """Decode by recomputing the whole sequence at each step: slow, and correct for every architecture."""
    import torch

    source = torch.tensor([list(prompt)], device=policy.device)
    encoded = policy.model.get_encoder()(input_ids=source).last_hidden_state if policy.encoder_decoder else None
    ids = torch.full((copies, 1), decoder_start(policy), device=policy.device) if policy.encoder_decoder else source.repeat(copies, 1)
    eos = torch.tensor(policy.eos_ids, dtype=torch.long, device=policy.device)
    rows = _rows(policy, copies, first)
    for step in range(limit):
        logits = sequence_logits(policy, ids, encoded)[:, -1]
        tokens = pick(logits, rows.number, step)
        _record(rows, tokens, first, on_tokens)
        rows.ended = rows.ended | torch.isin(tokens, eos)
        alive = (~rows.ended).nonzero().squeeze(-1)
        tell_completed(on_tokens, len(rows.ended) - (0 if step == limit - 1 else len(alive)))
        if not len(alive):
            break
        ids = torch.cat([ids, tokens.unsqueeze(-1)], dim=1)[alive]
        rows.number, rows.ended = rows.number[alive], rows.ended[alive]
    return rows.tokens


def sequence_logits(policy: Policy, ids: Tensor, encoded: Tensor | None = None) -> Tensor:
    """Logits [row, position, token] of whole sequences of equal length, without cache or padding: the plain forward pass."""
    if encoded is None:
        return policy.model(input_ids=ids, use_cache=False).logits
    states = encoded.expand(len(ids), -1, -1)
    return policy.model(encoder_outputs=(states,), decoder_input_ids=ids, use_cache=False).logits


def decoder_start(policy: Policy) -> int:
    """The token that starts a completion of an encoder–decoder."""
    configs = (policy.model.config, getattr(policy.model, "generation_config", None))
    for attribute in ("decoder_start_token_id", "bos_token_id"):
        for config in configs:
            token = getattr(config, attribute, None)
            if isinstance(token, int):
                return token
    raise EngineError(f"{policy.name} is an encoder–decoder, and its config has no decoder_start_token_id: set it in config.json")


def _pad(policy: Policy, prompts: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), policy.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        span = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        ids[row, span] = torch.tensor(list(prompt))
        mask[row, span] = 1
    return ids.to(policy.device), mask.to(policy.device)


def _longer(mask: Tensor) -> Tensor:
    import torch

    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def _extras(policy: Policy, mask: Tensor, n_new: int) -> dict[str, Tensor | int]:
    """Arguments that only some models accept: positions that do not count the padding, and logits for the last position only."""
    extras: dict[str, Tensor | int] = {}
    accepted = forward_arguments(policy.model)
    if "position_ids" in accepted:
        extras["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp_(min=0)[:, -n_new:]
    if "logits_to_keep" in accepted:
        extras["logits_to_keep"] = 1
    return extras


def forward_arguments(model: PreTrainedModel) -> frozenset[str]:
    """The parameter names of a model's forward, of the base model if PEFT wraps it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(inner.forward).parameters)
