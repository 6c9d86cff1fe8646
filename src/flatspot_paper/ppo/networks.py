"""The networks that PPO trains, their optimizer and checkpoints, and their outputs for tokens."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from flatspot.core.errors import SettingsError
from flatspot.core.optional import require
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.engines.decode import Mode
from flatspot.engines.policy import Policy, load_policy
from flatspot.engines.sequences import (
    Ids,
    Places,
    at_least_float32,
    log_prob_and_entropy,
    token_logits,
    token_logits_and_states,
    token_states,
)
from flatspot.engines.verify import choose_mode
from flatspot.rollouts.identity import digest
from flatspot_paper.ppo.checkpoint import load_checkpoint, save_checkpoint
from flatspot_paper.ppo.settings import PPOSettings

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import ModuleDict
    from torch.optim import Optimizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class State(TypedDict):
    """The contents of a checkpoint."""

    policy: Mapping[str, Tensor]
    value: Mapping[str, Tensor]
    optimizer: Mapping[str, object]
    kl_coef: float
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Networks:
    """The trained networks and their optimizer: `value` is {trunk, head}, {head} alone on the policy's states, or None without a value to
    learn; `reference` is the policy with its initial weights, frozen, or None where β is 0 for good; `precision` is "bf16" or "no".
    """

    policy: Policy
    reference: Policy | None
    value: ModuleDict | None
    optimizer: Optimizer
    accelerator: Accelerator
    mode: Mode
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """What forward passes are made in."""
        torch = require("torch", extra="hf", purpose="PPO")
        context: AbstractContextManager[object] = torch.autocast(
            self.accelerator.device.type, torch.bfloat16, enabled=self.precision == "bf16"
        )
        return context


def prepare(policy_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: PPOSettings) -> Networks:
    """The networks and their optimizer: AdamW, weight decay on everything but biases and norms."""
    torch = require("torch", extra="hf", purpose="PPO")
    accelerate = require("accelerate", extra="hf", purpose="PPO")
    # whose precision belongs to the process, and would be that of the trainings after this one
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=1)
    if accelerator.mixed_precision == "fp16" or accelerator.distributed_type.value in ("DEEPSPEED", "FSDP", "MEGATRON_LM"):
        how = f"{accelerator.distributed_type.value} with mixed precision {accelerator.mixed_precision!r}"
        raise SettingsError(f"this PPO runs in one process or several with full copies, in 'no' or 'bf16' mixed precision, not under {how}")
    kinds = {p.dtype for p in policy_model.parameters() if p.requires_grad}
    if not kinds or min(kind.itemsize for kind in kinds) < 4:
        got = ", ".join(sorted(map(str, kinds))) or "none that require a gradient"
        raise SettingsError(
            f"PPO trains weights with 32 bits, because its steps are lost to rounding with 16; got {got}. Load them with dtype='float32'"
        )
    policy = load_policy((policy_model.to(accelerator.device), tokenizer))
    needed = settings.kl_coef > 0 or settings.kl_target is not None
    reference = dataclasses.replace(policy, model=copy.deepcopy(policy.model).requires_grad_(False)) if needed else None
    value = None
    if settings.learns_value:
        head = torch.nn.Linear(
            policy.model.config.get_text_config(decoder=True).hidden_size, 1, bias=False, dtype=min(kinds, key=lambda kind: kind.itemsize)
        )
        torch.nn.init.zeros_(head.weight)
        trunk = {"trunk": copy.deepcopy(policy.model)} if settings.value == "network" else {}
        value = torch.nn.ModuleDict({**trunk, "head": head}).to(accelerator.device)
    parameters = [p for p in [*policy.model.parameters(), *(value.parameters() if value else ())] if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},  # biases and norms
    ]
    optimizer = accelerator.prepare(torch.optim.AdamW(groups, lr=settings.learning_rate))
    precision = settings.mixed_precision or accelerator.mixed_precision
    return Networks(policy, reference, value, optimizer, accelerator, choose_mode(policy, [])[0], precision)


def read(networks: Networks, prompts: Ids, completions: Ids, at: Places, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """log p of the tokens under the policy at a temperature, the entropies of their distributions, the values of their prefixes: [token].

    Without a value to learn the values are 0.
    """
    value = networks.value
    if value is None or "trunk" in value:
        log_prob, entropy = read_policy(networks, prompts, completions, at, temperature)
        values = log_prob.new_zeros(log_prob.shape) if value is None else read_value(networks, prompts, completions, at)
        return log_prob, entropy, values
    with networks.autocast():
        logits, states = token_logits_and_states(networks.policy, prompts, completions, at, share=networks.mode == "prefixed")
        values = _headed(value, states.detach())
    return *_tempered(logits, temperature, completions, at), values


def read_policy(networks: Networks, prompts: Ids, completions: Ids, at: Places, temperature: float) -> tuple[Tensor, Tensor]:
    """log p of the tokens under the policy at a temperature, and the entropies of their distributions: [token] each."""
    with networks.autocast():
        logits = token_logits(networks.policy, prompts, completions, at, share=networks.mode == "prefixed")
    return _tempered(logits, temperature, completions, at)


def read_reference(networks: Networks, prompts: Ids, completions: Ids, at: Places) -> Tensor:
    """log p_ref of the tokens: [token]. No temperature."""
    reference = cast(Policy, networks.reference)
    with networks.autocast():
        logits = token_logits(reference, prompts, completions, at, share=networks.mode == "prefixed")
    return _tempered(logits, 1.0, completions, at)[0]


def read_value(networks: Networks, prompts: Ids, completions: Ids, at: Places) -> Tensor:
    """The value of the prefix of each token, of a value network: [token]."""
    value = cast("ModuleDict", networks.value)
    with networks.autocast():
        states = token_states(networks.policy, value["trunk"], prompts, completions, at, share=networks.mode == "prefixed")
        return _headed(value, states)


def _headed(value: ModuleDict, states: Tensor) -> Tensor:
    head = value["head"]
    return at_least_float32(head(states.to(head.weight.dtype)).squeeze(-1))


def _tempered(logits: Tensor, temperature: float, completions: Ids, at: Places) -> tuple[Tensor, Tensor]:
    return log_prob_and_entropy(logits / temperature, [completions[row][place] for row, place in zip(*at, strict=True)])


def save(file: Path, networks: Networks, identity: Mapping[str, object], kl_coef: float, history: list[dict[str, Any]]) -> None:
    """Write the networks, the optimizer, the KL coefficient and the metrics to one file."""
    parts = {"policy": networks.policy.model, "value": networks.value, "optimizer": networks.optimizer}
    states = {name: part.state_dict() if part is not None else {} for name, part in parts.items()}
    save_checkpoint(file, identity, {**states, "kl_coef": kl_coef, "history": history})


def resume(file: Path, networks: Networks, identity: Mapping[str, object]) -> State:
    """Restore the networks and the optimizer; returns the complete state."""
    state = cast(State, load_checkpoint(file, identity))
    networks.policy.model.load_state_dict(state["policy"])
    if networks.value is not None:
        networks.value.load_state_dict(state["value"])
    networks.optimizer.load_state_dict(state["optimizer"])
    return state


def identity_of(policy: Policy, prompts: Sequence[Prompt], reward: Reward, settings: PPOSettings) -> dict[str, object]:
    """Everything that the steps of a training depend on, before the first of them."""
    usual = {"advantages": "gae", "value": "network", "mixed_precision": None}  # what checkpoints do not name that are older than these
    relevant = {
        name: value
        for name, value in dataclasses.asdict(settings).items()
        if name not in ("steps", "rows_per_forward", "save_every") and not (name in usual and value == usual[name])
    }
    return {"policy": policy.fingerprint, "prompts": _digest_of(prompts), "reward": dict(reward.describe()), "settings": relevant}


def _digest_of(prompts: Sequence[Prompt]) -> str:
    """A digest of ids, texts and columns; of the content of columns that JSON cannot represent, because their `repr` is not reliable."""
    rows = [(prompt.id, prompt.text, sorted(prompt.columns.items())) for prompt in prompts]
    try:
        json.dumps(rows)
    except (TypeError, ValueError):
        return digest(rows, 16)
    return hashlib.sha256(repr(rows).encode("utf-8", "backslashreplace")).hexdigest()[:16]
