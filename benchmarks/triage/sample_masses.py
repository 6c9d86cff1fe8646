"""Draw completions with their probabilities for masses.py: python benchmarks/triage/sample_masses.py SET OUT.parquet [SECONDS]

SmolLM2-135M-Instruct. SET is one of

    short  the 279 prompts of sample_real.py with other seeds, 128 completions each: real_rewards.parquet is their independent truth
    other  tasks of reasoning-gym that are not in it, 96 completions each
    long   worded sums and GSM8K-like questions that are to be reasoned about, up to 128 tokens; the answer is the last number

Every row has its completion's number within the prompt (equal for equal texts that ended alike), its log-probability, its reward, and in
`long` the number of its extracted answer. After SECONDS no further part is begun; the parts lie beside OUT, and a second call goes on.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from sample_real import MORE_TASKS

from flatspot.core.records import Prompt, PromptRequest, Sampling
from flatspot.core.seeds import row_seed
from flatspot.engines import load_engine
from flatspot.engines.policy import DEFAULT_POLICY
from flatspot.rewards import load_reward
from flatspot.tasks.demo import demo_prompts
from flatspot.tasks.gym import gym_prompts

OTHER_TASKS = (
    "coin_flip[size=10,shots=3,seed=7]",
    "leg_counting[min_animals=1,max_animals=2,size=8,shots=3,seed=7]",
    "simple_equations[min_terms=2,max_terms=2,max_value=9,size=10,shots=3,seed=7]",
    "number_sorting[min_numbers=3,max_numbers=3,size=8,shots=2,seed=7]",
    "spell_backward[min_word_len=3,max_word_len=3,size=8,shots=4,seed=7]",
    "syllogism[size=8,shots=3,seed=7]",
    "calendar_arithmetic[size=8,shots=2,seed=7]",
    "lcm[min_value=1,max_value=6,size=10,shots=3,seed=7]",
)
LONG_TASKS = ("gsm_symbolic[size=14,seed=7]", "basic_arithmetic[min_terms=2,max_terms=2,min_digits=1,max_digits=1,size=10,seed=7]")
LONG_TASKS += ("simple_equations[min_terms=2,max_terms=2,max_value=9,size=8,seed=7]",)
REASON = "Think step by step, and end with the number that is the answer."
SEED = 20261130
# completions a prompt, at once, prompts at once, tokens
SIZES = {"short": (128, 128, 4, 16), "other": (96, 96, 4, 16), "long": (64, 64, 2, 128)}


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in SIZES:
        raise SystemExit(__doc__.splitlines()[0])
    name, out = sys.argv[1], Path(sys.argv[2])
    until = time.time() + (float(sys.argv[3]) if len(sys.argv) == 4 else float("inf"))
    samples, at_once, prompts_at_once, tokens = SIZES[name]
    engine = load_engine("openvino", DEFAULT_POLICY, dtype="float32", device="cpu")
    prompts, parts = prompts_of(name), []
    with load_reward("exact_match") as reward:
        for first in range(0, len(prompts), prompts_at_once):
            part = out.with_suffix(f".{first:04d}")
            if not part.exists():
                if time.time() > until:
                    break
                began = time.time()
                rows = _sampled(engine, reward, prompts[first : first + prompts_at_once], name, samples, at_once, tokens)
                pq.write_table(rows, part.with_name(part.name + ".half"))
                part.with_name(part.name + ".half").rename(part)
                print(f"{part.name}: {rows.num_rows} rows, {time.time() - began:.0f} s", flush=True)
            parts.append(part)
    pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts]), out, compression="zstd")


def prompts_of(name):
    if name == "short":
        return [*demo_prompts(), *gym_prompts("reasoning-gym:" + "+".join(MORE_TASKS))]
    if name == "other":
        return gym_prompts("reasoning-gym:" + "+".join(OTHER_TASKS))
    prompts = gym_prompts("reasoning-gym:" + "+".join(LONG_TASKS))
    return [Prompt(p.id, _reasoned(p.text), p.columns) for p in prompts]


def _reasoned(messages):
    return [{**m, "content": m["content"].replace("Reply with the answer only.", REASON)} for m in messages]


def last_number(text):
    """The last number of a text, as digits; "" where there is none."""
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return numbers[-1].replace(",", "").removesuffix(".0") if numbers else ""


def _sampled(engine, reward, prompts, name, samples, at_once, tokens):
    completions = [[] for _ in prompts]
    for first in range(0, samples, at_once):
        requests = [PromptRequest(p.text, tuple(row_seed(SEED, p.id, i) for i in range(first, first + at_once))) for p in prompts]
        for mine, more in zip(completions, engine.sample(requests, Sampling(max_new_tokens=tokens)), strict=True):
            mine.extend(more)
    columns = {column: [] for column in ("prompt_id", "completion", "answer", "logprob", "n_tokens", "truncated", "reward")}
    for prompt, mine in zip(prompts, completions, strict=True):
        answers = [last_number(c.text) for c in mine] if name == "long" else [c.text for c in mine]
        if name == "long":
            rewards = [float(answer == str(prompt.columns["reference"])) for answer in answers]
        else:
            rewards = [score.reward for score in reward.score([prompt] * len(mine), mine)]
        columns["prompt_id"] += [prompt.id] * len(mine)
        columns["completion"] += _numbered([(c.text, c.truncated) for c in mine])
        columns["answer"] += _numbered(answers)
        columns["logprob"] += [c.logprob for c in mine]
        columns["n_tokens"] += [c.n_tokens for c in mine]
        columns["truncated"] += [c.truncated for c in mine]
        columns["reward"] += rewards
    types = {"completion": pa.int16(), "answer": pa.int16(), "logprob": pa.float32(), "n_tokens": pa.int16(), "reward": pa.float32()}
    return pa.table({column: pa.array(values, types.get(column)) for column, values in columns.items()})


def _numbered(values):
    """Each value's number, by first appearance."""
    numbers = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]


if __name__ == "__main__":
    main()
