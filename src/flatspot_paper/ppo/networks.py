"""What PPO trains: the networks, their optimizer, how they are kept, and what they say of tokens."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.optional import require
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.engines.decode import Mode
from flatspot.engines.policy import Policy, load_policy
from flatspot.engines.sequences import Ids, Places, log_prob_and_entropy, token_logits, token_states
from flatspot.engines.verify import choose_mode
from flatspot.rollouts.identity import digest
from flatspot_paper.ppo.checkpoint import load_checkpoint, save_checkpoint
from flatspot_paper.ppo.settings import PPOSettings


@dataclass(frozen=True)
class Networks:
    """What is trained, and with what: `value` is {trunk, head}; `reference` the policy with its weights at the start, frozen."""

    policy: Policy
    reference: Policy
    value: Any
    optimizer: Any
    accelerator: Any
    mode: Mode


def prepare(policy_model: Any, tokenizer: Any, settings: PPOSettings) -> Networks:
    """The networks and their optimizer: AdamW, weight decay on everything but biases and norms."""
    torch = require("torch", extra="hf", purpose="PPO")
    accelerate = require("accelerate", extra="hf", purpose="PPO")
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=1)
    if accelerator.mixed_precision == "fp16" or accelerator.distributed_type.value in ("DEEPSPEED", "FSDP", "MEGATRON_LM"):
        how = f"{accelerator.distributed_type.value} with mixed precision {accelerator.mixed_precision!r}"
        raise SettingsError(f"PPO here runs in one process or several whole copies, in 'no' or 'bf16' mixed precision, and not under {how}")
    kinds = {p.dtype for p in policy_model.parameters() if p.requires_grad}
    if not kinds or min(kind.itemsize for kind in kinds) < 4:
        got = ", ".join(sorted(map(str, kinds))) or "none that require a gradient"
        raise SettingsError(
            f"PPO trains weights of 32 bits, in 16 its steps are lost to rounding; got {got}. Load them with dtype='float32'"
        )
    policy = load_policy((policy_model.to(accelerator.device), tokenizer))
    reference = dataclasses.replace(policy, model=copy.deepcopy(policy.model).requires_grad_(False))
    head = torch.nn.Linear(
        policy.model.config.get_text_config(decoder=True).hidden_size, 1, bias=False, dtype=min(kinds, key=lambda kind: kind.itemsize)
    )
    torch.nn.init.zeros_(head.weight)
    value = torch.nn.ModuleDict({"trunk": copy.deepcopy(policy.model), "head": head}).to(accelerator.device)
    trained = [p for p in [*policy.model.parameters(), *value.parameters()] if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},  # biases and norms
    ]
    optimizer = accelerator.prepare(torch.optim.AdamW(groups, lr=settings.learning_rate))
    return Networks(policy, reference, value, optimizer, accelerator, choose_mode(policy, [])[0])


def read_policy(networks: Networks, prompts: Ids, completions: Ids, at: Places, temperature: float) -> tuple[Any, Any]:
    """log p of the tokens under the policy at a temperature, and the entropy of what they were drawn from: [token] each."""
    with networks.accelerator.autocast():
        logits = token_logits(networks.policy, prompts, completions, at)
    return log_prob_and_entropy(logits / temperature, [completions[row][place] for row, place in zip(*at, strict=True)])


def read_reference(networks: Networks, prompts: Ids, completions: Ids, at: Places) -> Any:
    """log p_ref of the tokens: [token]. No temperature."""
    with networks.accelerator.autocast():
        logits = token_logits(networks.reference, prompts, completions, at)
    return log_prob_and_entropy(logits, [completions[row][place] for row, place in zip(*at, strict=True)])[0]


def read_value(networks: Networks, prompts: Ids, completions: Ids, at: Places) -> Any:
    """The value of what stands before each token: [token]."""
    with networks.accelerator.autocast():
        states = token_states(networks.policy, networks.value["trunk"], prompts, completions, at)
        head = networks.value["head"]
        return _wide(head(states.to(head.weight.dtype)).squeeze(-1))


def save(file: Path, networks: Networks, identity: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    """Write the networks, the optimizer and plain values to one file."""
    state = {"policy": networks.policy.model, "value": networks.value, "optimizer": networks.optimizer}
    save_checkpoint(file, identity, {name: kept.state_dict() for name, kept in state.items()} | dict(plain))


def resume(file: Path, networks: Networks, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Put the networks and the optimizer where `save` found them; returns the whole state."""
    state = load_checkpoint(file, identity)
    networks.policy.model.load_state_dict(state["policy"])
    networks.value.load_state_dict(state["value"])
    networks.optimizer.load_state_dict(state["optimizer"])
    return state


def identity_of(policy: Policy, prompts: Sequence[Prompt], reward: Reward, settings: PPOSettings) -> dict[str, Any]:
    """What the steps of a training depend on; taken before the first of them."""
    told = {name: value for name, value in dataclasses.asdict(settings).items() if name not in ("steps", "rows_per_forward", "save_every")}
    return {"policy": policy.fingerprint, "prompts": _digest_of(prompts), "reward": dict(reward.describe()), "settings": told}


def _digest_of(prompts: Sequence[Prompt]) -> str:
    """Of ids, texts and columns; a column that JSON has no word for counts by its content, as no text of Python's tells it reliably."""
    rows = [(prompt.id, prompt.text, sorted(prompt.columns.items())) for prompt in prompts]
    try:
        json.dumps(rows)
    except (TypeError, ValueError):
        return digest(rows, 16)
    return hashlib.sha256(repr(rows).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _wide(values: Any) -> Any:
    return values if values.dtype.itemsize >= 4 else values.float()
