"""Tiny policies built in the test: random weights large enough that the distribution is far from uniform, words for tokens."""

from __future__ import annotations

import torch
import transformers

from flatspot.engines.policy import Policy, load_policy

VOCABULARY = 100
EOS = 2
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w9 {% endif %}"


def word_tokenizer(chat_template: str | None = CHAT):
    """The words w3 … w99, one token each, after <pad>, <unk> and <eos>."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<pad>": 0, "<unk>": 1, "<eos>": EOS, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_model(kind: str, *, seed: int = 0, spread: float = 0.3, **changes):
    """A random model: "llama" (two key-value heads), "gpt2", "t5", "bart", "mamba" or another causal architecture below."""
    torch.manual_seed(seed)
    ends = {"eos_token_id": EOS, "pad_token_id": 0, "bos_token_id": 1}
    small = dict(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, initializer_range=spread, **ends,
    )  # fmt: skip
    enc_dec = {"vocab_size": VOCABULARY, "d_model": 64, **ends}
    bart = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 128))}
    t5 = {"d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    gpt2 = {"vocab_size": VOCABULARY, "n_positions": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": spread, **ends}
    mamba = {"vocab_size": VOCABULARY, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": spread, **ends}
    tf = transformers
    makers = {
        "llama": (tf.LlamaForCausalLM, tf.LlamaConfig, small),
        "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config, small),
        "qwen3": (tf.Qwen3ForCausalLM, tf.Qwen3Config, {**small, "head_dim": 32}),
        "mistral": (tf.MistralForCausalLM, tf.MistralConfig, {**small, "sliding_window": 8}),
        "gpt2": (tf.GPT2LMHeadModel, tf.GPT2Config, gpt2),
        "t5": (tf.T5ForConditionalGeneration, tf.T5Config, {**enc_dec, **t5}),
        "bart": (
            tf.BartForConditionalGeneration,
            tf.BartConfig,
            {**enc_dec, **bart, "max_position_embeddings": 128, "init_std": spread, "decoder_start_token_id": 2},
        ),
        "mamba": (tf.MambaForCausalLM, tf.MambaConfig, mamba),
    }
    build, configure, settings = makers[kind]
    model = build(configure(**{**settings, **changes}))
    if kind == "t5":  # its own initialization is nearly uniform over tokens
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model.eval()


def tiny_policy(kind: str, **changes) -> Policy:
    return load_policy((tiny_model(kind, **changes), word_tokenizer()))


def exact_probabilities(policy: Policy, prompt: list[int], prefix: list[int], sampling) -> list[float]:
    """The next token's distribution after `prefix`, by a plain forward pass and transformers' own warpers."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    with torch.no_grad():
        if policy.encoder_decoder:
            start = [policy.model.config.decoder_start_token_id]
            logits = policy.model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([start + prefix])).logits[:, -1]
        else:
            logits = policy.model(input_ids=torch.tensor([prompt + prefix])).logits[:, -1]
    logits = TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_k:
        logits = TopKLogitsWarper(sampling.top_k)(None, logits)
    if sampling.top_p < 1:
        logits = TopPLogitsWarper(sampling.top_p)(None, logits)
    return torch.softmax(logits[0], -1)


class CountTokens:
    """Counts the tokens and the finished completions that an engine reports."""

    def __init__(self):
        self.tokens, self.rows, self.first = 0, 0, 0

    def __call__(self, n):
        self.tokens += n

    def completed(self, n):
        self.first = self.first or self.tokens
        self.rows += n


def total_variation(counts, probabilities) -> float:
    return 0.5 * float((counts / counts.sum() - probabilities).abs().sum())
