"""A policy's weights → a float16 GGUF file, the only format from which openvino-genai builds a model without a converter.

openvino-genai reads a quantized GGUF as a different model from the one that transformers dequantizes from it. A file written from the
dequantized weights gives the same model, up to float16 rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import EngineError
from flatspot.core.optional import require
from flatspot.engines.policy import Policy

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor
    from transformers import PreTrainedConfig

Float32s = NDArray[np.float32]

_ARCHITECTURES = {"llama", "qwen2", "qwen3"}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_FLOAT16_MAX = 65504.0
_FILE_TYPE_F16 = 1


def unsupported(config: PreTrainedConfig) -> str | None:
    """Why openvino-genai cannot read a policy with this config; None if it can.

    >>> from types import SimpleNamespace
    >>> unsupported(SimpleNamespace(model_type="mamba"))
    "the architecture 'mamba' is not one of llama, qwen2, qwen3"
    """
    if config.model_type not in _ARCHITECTURES:
        return f"the architecture {config.model_type!r} is not one of {', '.join(sorted(_ARCHITECTURES))}"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        return f"positions scaled by {rope['rope_type']!r} are not supported"
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act!r} is not supported"
    if config.model_type == "llama" and (config.attention_bias or config.mlp_bias):
        return "biases of a llama are not supported"
    if getattr(config, "use_sliding_window", False):
        return "sliding-window attention is not supported"
    return None


def write_gguf(policy: Policy, file: Path) -> None:
    """Write the policy's weights as float16 GGUF; EngineError if a weight exceeds float16 or has no place in the format.

    The vocabulary is a list of placeholders: openvino-genai requires one, and only token ids are ever passed to it.
    """
    gguf = require("gguf", extra="cpu", purpose="converting a policy for openvino-genai")
    config = policy.model.config
    writer = gguf.GGUFWriter(file, config.model_type)
    _add_shape(writer, config)
    _add_placeholder_vocabulary(writer, config.vocab_size)
    tied = bool(config.tie_word_embeddings)
    for name, tensor in policy.model.state_dict().items():
        if not (tied and name == "lm_head.weight"):
            writer.add_tensor(gguf_name(name), _values(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """The GGUF name of a transformers parameter; EngineError if there is none.

    >>> gguf_name("model.layers.3.mlp.up_proj.weight")
    'blk.3.ffn_up.weight'
    """
    stem, _, kind = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{kind}"
    parts = stem.split(".", 3)
    if parts[:2] == ["model", "layers"] and len(parts) == 4 and parts[3] in _LAYER:
        return f"blk.{parts[2]}.{_LAYER[parts[3]]}.{kind}"
    raise EngineError(f"the parameter {name} has no place in a GGUF file for openvino-genai. Use --engine hf")


def _add_shape(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float((getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(_FILE_TYPE_F16)


def _add_placeholder_vocabulary(writer: GGUFWriter, size: int) -> None:
    # one control token and one merge: without either, openvino-genai fails to build the tokenizer that goes with the model
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_array("tokenizer.ggml.tokens", ["<0>", "a", "b", "ab", *(f"<{i}>" for i in range(4, size))])
    writer.add_array("tokenizer.ggml.token_type", [3] + [1] * (size - 1))
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)


def _values(name: str, tensor: Tensor, config: PreTrainedConfig) -> Float32s | NDArray[np.float16]:
    """A weight as GGUF holds it: matrices in float16, vectors in float32; a llama's query and key rows in pairs."""
    values: Float32s = tensor.detach().float().cpu().numpy()
    if config.model_type == "llama" and "q_proj" in name:
        values = _paired(values, config.num_attention_heads)
    if config.model_type == "llama" and "k_proj" in name:
        values = _paired(values, config.num_key_value_heads)
    if values.ndim == 1:
        return np.ascontiguousarray(values, dtype=np.float32)
    largest = float(np.abs(values).max())
    if not largest <= _FLOAT16_MAX:
        raise EngineError(f"the weight {name} reaches {largest:.3g}, beyond float16 ({_FLOAT16_MAX:.0f}). Use --engine hf")
    return values.astype(np.float16)


def _paired(values: Float32s, heads: int) -> Float32s:
    """Rows of each head reordered from (first half, second half) to pairs, the layout of rotary positions in a llama's GGUF."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
