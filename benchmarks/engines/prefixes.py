"""What it saves to read once what prompts begin with alike: the demo's prompts with their examples, and the last question of each alone.

    python benchmarks/engines/prefixes.py [--rounds 3] [--threads 1]

The hf engine on SmolLM2-135M-Instruct in float32. Both ways of reading take turns; the time is the processor's. `read` is to read every
prompt and to draw one token; `drawn` is 4 completions of at most 32 tokens each. Tokens are counted with their padding, as the model
processes them.
"""

from __future__ import annotations

import argparse
import statistics
import time

from flatspot.core.records import PromptRequest, Sampling
from flatspot.engines.hf import HfEngine
from flatspot.engines.policy import load_policy
from flatspot.engines.prefixes import split_prefixes
from flatspot.engines.prompts import encode
from flatspot.tasks.demo import demo_prompts

POLICY = "smollm2-135m-instruct"
MODES = ("shared", "prefixed")
WORK = {"read": (1, 1), "drawn": (4, 32)}  # completions, tokens


def main() -> None:
    """Print a line per set of prompts and kind of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    policy = load_policy(POLICY, dtype="float32")
    engines = {mode: HfEngine(policy, mode=mode) for mode in MODES}
    texts = {"with examples": [prompt.text for prompt in demo_prompts()], "alone": [prompt.text[-1:] for prompt in demo_prompts()]}
    for name, prompts in texts.items():
        ids = [encode(policy, text) for text in prompts]
        print(f"{name}: {len(ids)} prompts, {sum(map(len, ids)):,} tokens, {len(ids) * max(map(len, ids)):,} padded, {_split(ids):,} split")
        for work, (completions, tokens) in WORK.items():
            requests = [PromptRequest(text, tuple(range(completions * i, completions * (i + 1)))) for i, text in enumerate(prompts)]
            seconds = {mode: [] for mode in MODES}
            for _ in range(options.rounds):
                for mode, engine in engines.items():
                    begun = time.process_time()
                    engine.sample(requests, Sampling(max_new_tokens=tokens))
                    seconds[mode].append(time.process_time() - begun)
            whole, split = (statistics.median(seconds[mode]) for mode in MODES)
            ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
            print(f"  {work}: {whole:.1f} s, {split:.1f} s; {whole / split:.2f} times ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)


def _split(ids: list[list[int]]) -> int:
    split = split_prefixes(ids)
    if split is None:
        return len(ids) * max(map(len, ids))
    return len(split.prefixes) * max(map(len, split.prefixes)) + len(ids) * max(map(len, split.rests))


if __name__ == "__main__":
    main()
