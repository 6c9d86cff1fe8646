"""The hf engine on a CUDA device against one-prompt-at-a-time `generate`: tokens/s, and whether both sample the same distribution.

python benchmarks/engines/gpu.py [--layers 16 --hidden 2048]

The weights are random (speed does not depend on them, and no model need be fetched); the shape is a Llama of about a billion parameters
by default. Nothing ends early, so every completion has all its tokens.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import load_policy

VOCABULARY, EOS = 49_152, 2


def tokenizer(size: int):
    words = {"<pad>": 0, "<unk>": 1, "<eos>": EOS, **{f"w{i}": i for i in range(3, size)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>", pad_token="<pad>")


def llama(hidden: int, layers: int, vocabulary: int, dtype, spread: float = 0.02):
    torch.manual_seed(0)
    heads = hidden // 64
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads // 3 if heads % 3 == 0 else max(1, heads // 4),
        max_position_embeddings=2048, eos_token_id=EOS, bos_token_id=1, pad_token_id=0,
        initializer_range=spread,
    )  # fmt: skip
    with torch.device("cuda"):
        return transformers.LlamaForCausalLM(config).to(dtype).eval()


def texts(n: int, vocabulary: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{i}" for i in rng.integers(3, vocabulary, rng.integers(35, 90))) for _ in range(n)]


def generate_rate(model, tok, prompts: list[str], samples: int, new: int) -> float:
    def one(text: str) -> int:
        ids = tok(text, return_tensors="pt").input_ids.to("cuda")
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            num_return_sequences=samples, max_new_tokens=new, min_new_tokens=new,
        )  # fmt: skip
        return int((out.shape[1] - ids.shape[1]) * out.shape[0])

    one(prompts[0])
    torch.cuda.synchronize()
    started = time.perf_counter()
    tokens = sum(one(text) for text in prompts)
    torch.cuda.synchronize()
    return tokens / (time.perf_counter() - started)


def engine_rate(engine: HfEngine, prompts: list[str], samples: int, new: int) -> tuple[float, float]:
    def draw(some: list[str]) -> int:
        requests = [PromptRequest(text, tuple(row_seed(0, text, i) for i in range(samples))) for text in some]
        return sum(c.n_tokens for row in engine.sample(requests, Sampling(max_new_tokens=new)) for c in row)

    draw(prompts[:2])
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    tokens = draw(prompts)
    torch.cuda.synchronize()
    return tokens / (time.perf_counter() - started), torch.cuda.max_memory_allocated() / 2**30


def total_variation(samples: int = 40_000) -> float:
    """Of the first sampled token of a small random model against its exact probabilities, on this device, in float32."""
    model, tok = llama(128, 2, 100, torch.float32, spread=0.3), tokenizer(100)
    engine = HfEngine(load_policy((model, tok)))
    text = "w5 w17 w40"
    completions = engine.sample([PromptRequest(text, tuple(row_seed(1, "tv", i) for i in range(samples)))], Sampling(max_new_tokens=1))[0]
    counts = np.bincount([c.token_ids[0] if c.token_ids else EOS for c in completions], minlength=100) / samples
    with torch.no_grad():
        exact = model(input_ids=tok(text, return_tensors="pt").input_ids.cuda()).logits[0, -1].double().softmax(-1).cpu().numpy()
    return float(np.abs(counts - exact).sum() / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--new", type=int, default=128)
    options = parser.parse_args()
    model, tok = llama(options.hidden, options.layers, VOCABULARY, torch.bfloat16), tokenizer(VOCABULARY)
    prompts = texts(options.prompts, VOCABULARY)
    slow = generate_rate(model, tok, prompts[:8], options.samples, options.new)
    engine = HfEngine(load_policy((model, tok)))
    fast, peak = engine_rate(engine, prompts, options.samples, options.new)
    results = {
        "device": torch.cuda.get_device_name(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": "bfloat16",
        "work": f"{options.prompts} prompts of 35-90 tokens x {options.samples} samples x {options.new} new tokens",
        "generate_on": "8 of the prompts",
        "generate_tokens_per_s": round(slow),
        "hf_engine_tokens_per_s": round(fast),
        "ratio": round(fast / slow, 2),
        "peak_gib": round(peak, 2),
        "mode": engine.mode,
        "notes": engine.notes,
        "total_variation_40000": round(total_variation(), 4),
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
