"""Draw the rewards that real.py replays: python benchmarks/triage/sample_real.py OUT.parquet

SmolLM2-135M-Instruct, 256 completions of each of 279 reasoning-gym prompts, scored by `exact_match`: the demo's 59, and 220 more of like
tasks with fewer solved examples. About an hour on one core; the parts lie beside OUT, and a second call goes on from them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flatspot.core.records import PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines import load_engine
from flatspot.engines.policy import DEFAULT_POLICY
from flatspot.rewards import load_reward
from flatspot.tasks.demo import demo_prompts
from flatspot.tasks.gym import gym_prompts

MORE_TASKS = (
    "palindrome_generation[min_length=1,max_length=1,size=16,shots=4,seed=5]",
    "chain_sum[min_terms=1,max_terms=1,min_digits=1,max_digits=3,size=16,shots=3,seed=5]",
    "word_sequence_reversal[min_words=2,max_words=2,size=26,shots=3,seed=5]",
    "letter_counting[min_words=1,max_words=2,size=26,shots=3,seed=5]",
    "needle_haystack[min_num_statements=2,max_num_statements=2,size=24,shots=2,seed=5]",
    "gcd[min_value=1,max_value=6,size=30,shots=3,seed=5]",
    "basic_arithmetic[min_terms=2,max_terms=2,min_digits=1,max_digits=1,size=32,shots=3,seed=5]",
    "products[min_digits=1,max_digits=1,size=24,shots=3,seed=5]",
    "chain_sum[min_terms=4,max_terms=4,min_digits=4,max_digits=4,size=13,shots=2,seed=5]",
    "caesar_cipher[min_words=2,max_words=2,min_rotation=3,max_rotation=20,size=13,shots=2,seed=5]",
)
SAMPLES, AT_ONCE, PROMPTS_AT_ONCE = 256, 64, 5


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.splitlines()[0])
    out = Path(sys.argv[1])
    engine = load_engine("openvino", DEFAULT_POLICY, dtype="float32", device="cpu")
    sets = {20261122: demo_prompts(), 20261123: gym_prompts("reasoning-gym:" + "+".join(MORE_TASKS))}
    parts = []
    with load_reward("exact_match") as reward:
        for seed, prompts in sets.items():
            for first in range(0, len(prompts), PROMPTS_AT_ONCE):
                part = out.with_suffix(f".{seed}-{first:04d}")
                if not part.exists():
                    rows = _sampled(engine, reward, prompts[first : first + PROMPTS_AT_ONCE], seed)
                    pq.write_table(rows, part.with_name(part.name + ".half"))
                    part.with_name(part.name + ".half").rename(part)
                    print(f"{part.name}: {rows.num_rows} rows", flush=True)
                parts.append(part)
    pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts]), out, compression="zstd")


def _sampled(engine, reward, prompts, seed):
    ids, rewards = [], []
    completions = [[] for _ in prompts]
    for first in range(0, SAMPLES, AT_ONCE):
        requests = [PromptRequest(p.text, tuple(row_seed(seed, p.id, i) for i in range(first, first + AT_ONCE))) for p in prompts]
        for mine, more in zip(completions, engine.sample(requests, Sampling(max_new_tokens=16)), strict=True):
            mine.extend(more)
    for prompt, mine in zip(prompts, completions, strict=True):
        ids += [prompt.id] * len(mine)
        rewards += [score.reward for score in reward.score([prompt] * len(mine), mine)]
    return pa.table({"prompt_id": ids, "reward": pa.array(rewards, pa.float32())})


if __name__ == "__main__":
    main()
