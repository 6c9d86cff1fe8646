"""The logits that a completion was drawn from, with a gradient: what differentiating a policy needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flatspot.core.errors import EngineError
from flatspot.engines.decode import Mode, decoder_start, forward_arguments, sequence_logits
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import Policy, load_policy


def weights_of(engine: str, policy: Any, *, dtype: str = "auto", device: str = "auto") -> tuple[Policy, Mode]:
    """The policy with its weights, and how it is decoded; an hf engine in memory lends its own.

    Raises EngineError where there are no weights at hand: a scripted policy, a server, another engine object.
    """
    refuse_without_weights(engine, policy)
    found = policy if isinstance(policy, HfEngine) else HfEngine(load_policy(policy, dtype=dtype, device=device))
    return found.policy, found.mode


def refuse_without_weights(engine: str, policy: Any) -> None:
    """Raise EngineError where `weights_of` would find none; loads nothing."""
    by_name = isinstance(policy, str | Path | tuple)
    if isinstance(policy, HfEngine) or (by_name and engine in ("auto", "hf", "openvino")):
        return
    named = engine if by_name else getattr(policy, "name", type(policy).__name__)
    raise EngineError(
        f"--gradients differentiates the policy, and the engine {named!r} has no weights to differentiate. Name the policy by a folder, "
        "a GGUF file or a hub name with --engine hf or openvino, or leave --gradients out"
    )


def completion_logits(policy: Policy, prompt: Sequence[int], *, temperature: float = 1.0) -> Callable[[Sequence[int]], Any]:
    """A function: token ids of a completion → its logits [position, token] over the temperature, differentiable by the weights."""
    import torch

    def ids_of(tokens: Sequence[int]) -> Any:
        return torch.tensor([list(tokens)], device=policy.device)

    def logits_of(completion: Sequence[int]) -> Any:
        if policy.encoder_decoder:
            encoded = policy.model.get_encoder()(input_ids=ids_of(prompt)).last_hidden_state
            logits = sequence_logits(policy, ids_of([decoder_start(policy), *completion[:-1]]), encoded)[0]
        else:
            keep = {"logits_to_keep": len(completion)} if "logits_to_keep" in forward_arguments(policy.model) else {}
            ids = ids_of([*prompt, *completion[:-1]])
            logits = policy.model(input_ids=ids, use_cache=False, **keep).logits[0, -len(completion) :]
        return logits.float() / temperature

    return logits_of


def trainable(policy: Policy) -> list[Any]:
    """The tensors that training would move; EngineError where all are frozen."""
    found = [p for p in policy.model.parameters() if p.requires_grad and p.is_floating_point()]
    if not found:
        raise EngineError(f"no parameter of {policy.name} requires a gradient: --gradients has nothing to differentiate by")
    return found
