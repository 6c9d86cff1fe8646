"""What adaptivity costs the engine: tokens a second of a fixed number of samples against triage's rounds, taking turns in one process.

    python benchmarks/triage/engine_side.py [--engine hf] [--turns 2] [--json FILE]

The policy is SmolLM2-135M-Instruct. Two sets of prompts: chat prompts of one sentence answered in up to 48 tokens, and the demo's, with
solved examples before the question and answers of a few tokens, so that reading the prompt again in each round costs most. Everything
counts, also the fits between rounds and the writing of rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from flatspot.core.records import Sampling
from flatspot.core.request import Request
from flatspot.core.settings import Settings
from flatspot.engines.registry import load_engine
from flatspot.rewards import load_reward
from flatspot.rollouts.collect import collect, visit_cost
from flatspot.rollouts.completeness import replay_opened
from flatspot.rollouts.rounds import FixedCompletions
from flatspot.rollouts.store import open_run
from flatspot.stats.triage.decider import Adaptive
from flatspot.stats.triage.plan import diagnose_plan
from flatspot.tasks import load_prompts
from flatspot.tasks.demo import demo_prompts

NOUNS = ("apples", "trains", "birds", "shops", "rivers", "songs", "doors", "coins")
ASKS = (
    "Name one colour of {}.",
    "Write a sentence about {} with a number in it.",
    "How many {} are there in a town?",
    "Is it true that {} are old? Answer yes or no.",
    "Write three words about {}.",
)


def chat_prompts():
    rows = [{"prompt": [{"role": "user", "content": ask.format(noun)}]} for ask in ASKS for noun in NOUNS]
    return load_prompts(rows, prompt_col="prompt", id_col="id", limit=None)


CASES = {
    "chat, 48 tokens": (chat_prompts, "regex[pattern=[0-9]]", 48, 16),
    "demo, 16 tokens": (demo_prompts, "exact_match", 16, 16),
}


def turn(engine, prompts, reward, sampling, decider):
    tokens = 0

    def count(progress):
        nonlocal tokens
        tokens = progress.tokens

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        path, rows = Path(folder) / "run", engine.rows_per_call
        with open_run(path, kind="diagnose", request=Request(), identity={}, rows_per_part=rows) as run:
            replay = replay_opened(run.path, run.record, lambda _: decider, None)
            collect(run, prompts, engine, reward, sampling, replay, seed=0, policy="p", on_progress=count)
            rounds = len(list((run.path / "rounds").iterdir()))
        seconds = time.perf_counter() - began
    return {"tokens": tokens, "seconds": seconds, "rows": int(decider.most_completions()), "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="hf")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    engine = load_engine(options.engine, "smollm2-135m-instruct", dtype="float32", device="cpu", memory_gib=4)
    by_case = {}
    for name in options.cases:
        make, scored_by, new_tokens, samples = CASES[name]
        prompts, sampling = make(), Sampling(max_new_tokens=new_tokens)
        results = {"fixed": [], "adaptive": []}
        with load_reward(scored_by) as reward:
            turn(engine, prompts[:4], reward, sampling, FixedCompletions(4, 4))
            for _ in range(options.turns):
                cost = visit_cost(engine, prompts, sampling)
                settings = Settings(max_completions=samples, target_error=0.05)
                plan = diagnose_plan(settings, 0.0506, (0.0, 1.0), np.full(len(prompts), np.nan), engine.rows_per_call, cost)
                deciders = {
                    "fixed": FixedCompletions(len(prompts), samples),
                    "adaptive": Adaptive(plan),
                }
                for how, decider in deciders.items():
                    results[how].append(turn(engine, prompts, reward, sampling, decider))
        rate = {how: statistics.median(t["tokens"] / t["seconds"] for t in turns) for how, turns in results.items()}
        lost = 1 - rate["adaptive"] / rate["fixed"]
        by_case[name] = {
            "prompts": len(prompts),
            "lost": lost,
            **{how: {"tokens_per_second": rate[how], **results[how][-1]} for how in results},
        }
        print(name, json.dumps(by_case[name]), flush=True)
    if options.json:
        before = json.loads(options.json.read_text())["cases"] if options.json.exists() else {}
        options.json.write_text(json.dumps({"engine": options.engine, "cases": before | by_case}, indent=1) + "\n")


if __name__ == "__main__":
    main()
