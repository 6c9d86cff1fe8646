"""Draw the real partial credit of graded_sets.py: python benchmarks/claims/sample_partial.py OUT.parquet

SmolLM2-135M-Instruct, 64 completions of each of 60 reasoning-gym prompts of twelve tasks, scored by the tasks' own scorers, which pay for
answers that are partly right. About five minutes of one core.
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
from flatspot.tasks.gym import gym_prompts

TASKS = (
    "spell_backward[min_word_len=3,max_word_len=4,size=5,shots=3,seed=9]",
    "letter_jumble[min_word_len=3,max_word_len=4,min_words=1,max_words=2,size=5,shots=3,seed=9]",
    "word_sorting[min_words=2,max_words=3,size=5,shots=2,seed=9]",
    "number_sorting[min_numbers=2,max_numbers=3,size=5,shots=2,seed=9]",
    "sentence_reordering[min_words_in_sentence=3,max_words_in_sentence=4,size=5,shots=2,seed=9]",
    "string_insertion[min_string_length=5,max_string_length=6,size=5,shots=2,seed=9]",
    "chain_sum[min_terms=2,max_terms=2,min_digits=1,max_digits=2,size=5,shots=3,seed=9]",
    "decimal_chain_sum[min_terms=2,max_terms=2,min_digits=1,max_digits=1,size=5,shots=3,seed=9]",
    "products[min_terms=2,max_terms=2,min_digits=1,max_digits=2,size=5,shots=3,seed=9]",
    "power_function[min_exponent=2,max_exponent=2,size=5,shots=3,seed=9]",
    "count_bits[min_n=1,max_n=30,size=5,shots=3,seed=9]",
    "fraction_simplification[min_value=1,max_value=9,size=5,shots=3,seed=9]",
)
SAMPLES, PROMPTS_AT_ONCE, SEED = 64, 5, 20261130


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.splitlines()[0])
    engine = load_engine("openvino", DEFAULT_POLICY, dtype="float32", device="cpu")
    prompts = gym_prompts("reasoning-gym:" + "+".join(TASKS))
    ids, rewards = [], []
    with load_reward("reasoning_gym") as reward:
        for first in range(0, len(prompts), PROMPTS_AT_ONCE):
            some = prompts[first : first + PROMPTS_AT_ONCE]
            requests = [PromptRequest(p.text, tuple(row_seed(SEED, p.id, i) for i in range(SAMPLES))) for p in some]
            for prompt, mine in zip(some, engine.sample(requests, Sampling(max_new_tokens=16)), strict=True):
                ids += [prompt.id] * len(mine)
                rewards += [score.reward for score in reward.score([prompt] * len(mine), mine)]
            print(f"{len(ids)} rows", flush=True)
    pq.write_table(pa.table({"prompt_id": ids, "reward": pa.array(rewards, pa.float32())}), Path(sys.argv[1]), compression="zstd")


if __name__ == "__main__":
    main()
