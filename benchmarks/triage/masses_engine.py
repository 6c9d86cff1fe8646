"""The CPU seconds of whole runs with masses and without: python benchmarks/triage/masses_engine.py TARGET 0|1

`flatspot diagnose` of the demo's 59 prompts, openvino in float32, up to 64 completions of 16 tokens, each in a process of its own on one
core (`taskset -c 1`). Adds its line to masses_engine.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import flatspot
from flatspot.engines import load_engine
from flatspot.engines.policy import DEFAULT_POLICY
from flatspot.tasks.demo import demo_prompts

FILE = Path(__file__).parent / "masses_engine.json"


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__.splitlines()[0])
    target, masses = float(sys.argv[1]), sys.argv[2] == "1"
    engine = load_engine("openvino", DEFAULT_POLICY, dtype="float32", device="cpu")
    prompts = [{"prompt": p.text, "reference": p.columns["reference"]} for p in demo_prompts()]
    settings = {"target_error": target, "max_completions": 64, "max_new_tokens": 16, "reward_range": (0, 1), "deterministic_reward": masses}
    with tempfile.TemporaryDirectory() as out:
        began = time.process_time()
        run = flatspot.diagnose(prompts, engine, "exact_match", out=out, **settings)
        spent = time.process_time() - began
    line = {"target": target, "masses": masses, "rows": run.summary.generations.total, "tokens": run.summary.generations.tokens}
    line |= {"seconds": round(spent, 1), "proved": run.summary.proved}
    lines = json.loads(FILE.read_text()) if FILE.exists() else []
    lines = [other for other in lines if (other["target"], other["masses"]) != (target, masses)] + [line]
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, lines)) + "\n]\n")
    print(line)


if __name__ == "__main__":
    main()
