"""How many rows can be in progress at once, from the policy's shape and a memory budget."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from flatspot.engines.decode import forward_arguments
from flatspot.engines.policy import Policy

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a row and a prompt need in addition to the weights.

    row     kv_token · (prompt + new tokens) · 1.25 + 20 · vocabulary
            kv_token = 2 · layers · key-value heads · head size · bytes of the dtype (keys and values); a quarter more because
            a layer exists twice while a prompt is repeated; and float32 logits, weights, and temporaries
    prompt  length · (16 · hidden + 4 · feed-forward) · bytes, the activations of a prefill; plus 4 · vocabulary per token
            if the model cannot skip the logits inside the prompt
    """

    kv_token: int
    vocabulary: int
    prompt_token: int

    def row(self, prompt: int, new: int) -> float:
        """Bytes of a row with this many prompt and new tokens."""
        return 1.25 * self.kv_token * (prompt + new) + 20 * self.vocabulary

    def prompt(self, length: int) -> float:
        """Bytes of the prefill of a prompt."""
        return float(self.prompt_token * length)


def footprint(policy: Policy) -> Footprint:
    """The footprint of a policy from its config, with common defaults for attributes that a config lacks."""
    config = policy.model.config.get_text_config(decoder=True)

    def read(*names: str, default: int) -> int:
        return next((int(value) for name in names if (value := getattr(config, name, None))), default)

    heads = read("num_attention_heads", "num_heads", default=8)
    hidden = read("hidden_size", "d_model", default=1024)
    layers = read("num_decoder_layers", "num_hidden_layers", "decoder_layers", default=24)
    head = read("head_dim", "d_kv", default=hidden // heads)
    size = 4 if policy.dtype == "float32" else 2
    cross = 2 if policy.encoder_decoder else 1
    vocabulary = read("vocab_size", default=50_000)
    feed_forward = read("intermediate_size", "d_ff", "n_inner", "decoder_ffn_dim", default=4 * hidden)
    prompt_token = (16 * hidden + 4 * feed_forward) * size
    if not policy.encoder_decoder and "logits_to_keep" not in forward_arguments(policy.model):
        prompt_token += 4 * vocabulary
    return Footprint(2 * layers * read("num_key_value_heads", default=heads) * head * size * cross, vocabulary, prompt_token)


def budget_bytes(memory_gib: float | None, device: str) -> float:
    """Bytes for caches and logits: `memory_gib`, by default half of the memory that is free now (CUDA: four fifths)."""
    if memory_gib is not None:
        return memory_gib * _GIB
    if device.startswith("cuda"):
        import torch

        return 0.8 * float(torch.cuda.mem_get_info(device)[0])
    return 0.5 * available_bytes()


def available_bytes() -> float:
    """Memory that can be used without swapping: MemAvailable on Linux, else half of the physical memory, else 4 GiB."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4.0 * _GIB
