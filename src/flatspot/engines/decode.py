"""A decode loop around an unchanged transformers model: one prefill per prompt, its cache shared by all its rows.

A *row* is one completion under way. Rows of a prompt share its prefill: the cache is computed once per prompt, its entries
are then repeated into buffers with room for the tokens to come, and rows that have ended are dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flatspot.core.errors import EngineError
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.engines.policy import Policy

# shared    one prefill per prompt, prompts of unequal length side by side, ended rows dropped: needs a cache that can select rows
# repeated  one prompt at a time, its ids repeated before the prefill, ended rows carried along: needs any cache
# uncached  one prompt at a time, the whole sequence anew at each step: needs nothing
Mode = Literal["shared", "repeated", "uncached"]
MODES: tuple[Mode, ...] = ("shared", "repeated", "uncached")

Pick = Callable[[Any, Any, int], Any]
"""(logits [row, token], row numbers [row], step) → tokens [row]."""

_DROP_SHARE = 32  # ended rows are dropped once they are one in 32 of the batch: dropping copies as many rows of the cache


@dataclass
class _Batch:
    """The rows under way. `number[i]` is the row at place i of the batch, `ended[i]` whether it only fills its place."""

    number: Any
    ended: Any
    mask: Any
    cache: Any
    encoded: Any
    drawn: list[list[int]]


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
        if mode == "shared":
            return _cached(policy, prompts, copies, limit, pick, True, 0, on_tokens)
        one_prompt = _cached_alone if mode == "repeated" else _uncached
        rows: list[list[int]] = []
        for prompt, n in zip(prompts, copies, strict=True):
            rows += one_prompt(policy, prompt, n, limit, pick, len(rows), on_tokens)
        return rows


def _cached_alone(
    policy: Policy, prompt: Sequence[int], copies: int, limit: int, pick: Pick, first: int, on_tokens: OnTokens | None
) -> list[list[int]]:
    return _cached(policy, [prompt] * copies, [1] * copies, limit, pick, False, first, on_tokens)


def _cached(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    copies: Sequence[int],
    limit: int,
    pick: Pick,
    selects: bool,
    first: int,
    on_tokens: OnTokens | None,
) -> list[list[int]]:
    """Decode with a cache. `selects` says that it can repeat and drop rows; `first` is the number of the first row."""
    import torch

    logits, batch = _prefill(policy, prompts)
    place = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(list(copies))).to(policy.device)
    batch.number = torch.arange(len(place), device=policy.device) + first
    batch.ended = torch.zeros(len(place), dtype=torch.bool, device=policy.device)
    batch.drawn = [[] for _ in range(len(place))]
    if selects:
        _repeat(batch, place, limit)
        logits = logits[place]
    eos = torch.tensor(policy.eos_ids, dtype=torch.long, device=policy.device)
    told = 0  # of the rows in the batch, those that were said to be whole
    for step in range(limit):
        tokens = pick(logits, batch.number, step)
        _record(batch, tokens, first, on_tokens)
        batch.ended = batch.ended | torch.isin(tokens, eos)
        n_ended = int(batch.ended.sum())
        last = n_ended == len(batch.ended) or step == limit - 1
        whole = len(batch.ended) if last else n_ended
        tell_completed(on_tokens, whole - told)
        if last:
            break
        told = whole
        if selects and n_ended * _DROP_SHARE >= len(batch.ended):
            tokens, told = _drop_ended(batch, tokens), 0
        logits = _advance(policy, batch, torch.where(batch.ended, policy.pad_id, tokens))
    return batch.drawn


def _record(batch: _Batch, tokens: Any, first: int, on_tokens: OnTokens | None) -> None:
    alive = ~batch.ended
    for number, token in zip(batch.number[alive].tolist(), tokens[alive].tolist(), strict=True):
        batch.drawn[number - first].append(token)
    if on_tokens is not None:
        on_tokens(int(alive.sum()))


def _drop_ended(batch: _Batch, tokens: Any) -> Any:
    """Drop the ended rows; the last rows take their places, so that the others need not move."""
    import torch

    alive = ~batch.ended
    n = int(alive.sum())
    places = torch.arange(n, device=alive.device)
    places[~alive[:n]] = alive[n:].nonzero().squeeze(-1) + n
    batch.number, batch.ended = batch.number[places], batch.ended[places]
    batch.cache.batch_select_indices(places)
    _select_inputs(batch, places)
    return tokens[places]


def _repeat(batch: _Batch, places: Any, room: int) -> None:
    """Repeat the prompts of a batch into rows, with room in the cache for the tokens to come."""
    from flatspot.engines.kv_cache import make_room

    make_room(batch.cache, places, room)
    _select_inputs(batch, places)


def _select_inputs(batch: _Batch, places: Any) -> None:
    batch.mask = batch.mask[places]
    if batch.encoded is not None:
        batch.encoded = batch.encoded[places]


def _prefill(policy: Policy, prompts: Sequence[Sequence[int]]) -> tuple[Any, _Batch]:
    """Logits after each prompt, and the cache they leave. A decoder is padded on the left, an encoder on the right."""
    import torch

    ids, mask = _pad(policy, prompts, left=not policy.encoder_decoder)
    if not policy.encoder_decoder:
        out = policy.model(input_ids=ids, attention_mask=mask, use_cache=True, **_extras(policy, mask, ids.shape[1]))
        return out.logits[:, -1], _Batch(None, None, mask, out.past_key_values, None, [])
    encoded = policy.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    start = torch.full((len(ids), 1), decoder_start(policy), device=policy.device)
    out = policy.model(encoder_outputs=(encoded,), attention_mask=mask, decoder_input_ids=start, use_cache=True)
    return out.logits[:, -1], _Batch(None, None, mask, out.past_key_values, encoded, [])


def _advance(policy: Policy, batch: _Batch, tokens: Any) -> Any:
    """Logits after one more token per row."""
    ids = tokens.unsqueeze(-1)
    if policy.encoder_decoder:
        out = policy.model(
            encoder_outputs=(batch.encoded,),
            attention_mask=batch.mask,
            decoder_input_ids=ids,
            past_key_values=batch.cache,
            use_cache=True,
        )
    else:
        batch.mask = _longer(batch.mask)
        out = policy.model(
            input_ids=ids, attention_mask=batch.mask, past_key_values=batch.cache, use_cache=True, **_extras(policy, batch.mask, 1)
        )
    batch.cache = out.past_key_values
    return out.logits[:, -1]


def _uncached(
    policy: Policy, prompt: Sequence[int], copies: int, limit: int, pick: Pick, first: int, on_tokens: OnTokens | None
) -> list[list[int]]:
    """Decode by running the whole sequence at each step: slow, and right for every architecture."""
    import torch

    source = torch.tensor([list(prompt)], device=policy.device)
    encoded = policy.model.get_encoder()(input_ids=source).last_hidden_state if policy.encoder_decoder else None
    ids = torch.full((copies, 1), decoder_start(policy), device=policy.device) if policy.encoder_decoder else source.repeat(copies, 1)
    eos = torch.tensor(policy.eos_ids, dtype=torch.long, device=policy.device)
    batch = _Batch(torch.arange(copies, device=policy.device) + first, None, None, None, encoded, [[] for _ in range(copies)])
    batch.ended = torch.zeros(copies, dtype=torch.bool, device=policy.device)
    for step in range(limit):
        logits = sequence_logits(policy, ids, encoded)[:, -1]
        tokens = pick(logits, batch.number, step)
        _record(batch, tokens, first, on_tokens)
        batch.ended = batch.ended | torch.isin(tokens, eos)
        kept = (~batch.ended).nonzero().squeeze(-1)
        tell_completed(on_tokens, len(batch.ended) - (0 if step == limit - 1 else len(kept)))
        if not len(kept):
            break
        ids = torch.cat([ids, tokens.unsqueeze(-1)], dim=1)[kept]
        batch.number, batch.ended = batch.number[kept], batch.ended[kept]
    return batch.drawn


def sequence_logits(policy: Policy, ids: Any, encoded: Any = None) -> Any:
    """Logits [row, position, token] of whole sequences of equal length, without cache or padding: the plain forward pass."""
    if encoded is None:
        return policy.model(input_ids=ids, use_cache=False).logits
    states = encoded.expand(len(ids), -1, -1)
    return policy.model(encoder_outputs=(states,), decoder_input_ids=ids, use_cache=False).logits


def decoder_start(policy: Policy) -> int:
    """The token that opens a completion of an encoder–decoder."""
    named = (policy.model.config, getattr(policy.model, "generation_config", None))
    for attribute in ("decoder_start_token_id", "bos_token_id"):
        for config in named:
            found = getattr(config, attribute, None)
            if isinstance(found, int):
                return found
    raise EngineError(f"{policy.name} is an encoder–decoder and its config names no decoder_start_token_id: set it in config.json")


def _pad(policy: Policy, prompts: Sequence[Sequence[int]], *, left: bool) -> tuple[Any, Any]:
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), policy.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        span = slice(longest - len(prompt), longest) if left else slice(0, len(prompt))
        ids[row, span] = torch.tensor(list(prompt))
        mask[row, span] = 1
    return ids.to(policy.device), mask.to(policy.device)


def _longer(mask: Any) -> Any:
    import torch

    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def _extras(policy: Policy, mask: Any, n_new: int) -> dict[str, Any]:
    """Arguments that only some models take: positions that do not count the padding, and logits of the last position alone."""
    extras: dict[str, Any] = {}
    takes = forward_arguments(policy.model)
    if "position_ids" in takes:
        extras["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp_(min=0)[:, -n_new:]
    if "logits_to_keep" in takes:
        extras["logits_to_keep"] = 1
    return extras


def forward_arguments(model: Any) -> frozenset[str]:
    """The names of what a model's forward takes, seen through a PEFT wrapper."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(inner.forward).parameters)
