"""The logits of one completion, differentiable with respect to the policy's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.engines.decode import Mode, decoder_start, forward_arguments, sequence_logits
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import Policy, load_policy

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from flatspot.core.protocols import Engine
    from flatspot.engines.policy import InMemory


def weights_of(
    engine: str,
    policy: str | Path | InMemory | Engine,
    *,
    dtype: str = "auto",
    device: str = "auto",
    template_kwargs: Mapping[str, Json] | None = None,
) -> tuple[Policy, Mode]:
    """The policy with its weights, and its decoding mode; those of the engine itself for an HfEngine in memory.

    Raises EngineError for a policy without accessible weights: scripted, on a server, or another engine object.
    """
    refuse_without_weights(engine, policy)
    if isinstance(policy, HfEngine):
        return policy.policy, policy.mode
    if not isinstance(policy, str | Path | tuple):
        raise EngineError(f"expected a policy or an HfEngine, got {type(policy).__name__}")
    hf = HfEngine(load_policy(policy, dtype=dtype, device=device, template_kwargs=template_kwargs))
    return hf.policy, hf.mode


def refuse_without_weights(engine: str, policy: str | Path | InMemory | Engine) -> None:
    """Raise EngineError if `weights_of` would; loads nothing."""
    by_name = isinstance(policy, str | Path | tuple)
    if isinstance(policy, HfEngine) or (by_name and engine in ("auto", "hf", "openvino")):
        return
    name = engine if by_name else getattr(policy, "name", type(policy).__name__)
    raise EngineError(
        f"--gradients differentiates the policy, and the engine {name!r} has no weights to differentiate. Use a folder, a GGUF file "
        "or a hub name with --engine hf or openvino, or omit --gradients"
    )


def completion_logits(policy: Policy, prompt: Sequence[int], *, temperature: float = 1.0) -> Callable[[Sequence[int]], Tensor]:
    """A function from the token ids of a completion to its logits [position, token] divided by the temperature; differentiable."""
    import torch

    def ids_of(tokens: Sequence[int]) -> Tensor:
        return torch.tensor([list(tokens)], device=policy.device)

    def logits_of(completion: Sequence[int]) -> Tensor:
        if policy.encoder_decoder:
            encoded = policy.model.get_encoder()(input_ids=ids_of(prompt)).last_hidden_state
            logits = sequence_logits(policy, ids_of([decoder_start(policy), *completion[:-1]]), encoded)[0]
        else:
            keep = {"logits_to_keep": len(completion)} if "logits_to_keep" in forward_arguments(policy.model) else {}
            ids = ids_of([*prompt, *completion[:-1]])
            logits = policy.model(input_ids=ids, use_cache=False, **keep).logits[0, -len(completion) :]
        return logits.float() / temperature

    return logits_of


def trainable(policy: Policy) -> list[Parameter]:
    """The parameters that training would change; EngineError if all are frozen."""
    parameters = [p for p in policy.model.parameters() if p.requires_grad and p.is_floating_point()]
    if not parameters:
        raise EngineError(f"no parameter of {policy.name} requires a gradient: --gradients has nothing to differentiate by")
    return parameters
