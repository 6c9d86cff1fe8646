"""Reads the log of another trainer's GRPO run and lists the prompts that the run cannot learn from, the most certain first.

    python examples/vanishing_prompts.py LOG...

Without LOG it writes a log as trainers do, with a row per completion, and reads that.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import flatspot

QUESTIONS = {"2 + 2": 0.9, "12 * 12": 0.5, "17 * 23": 0.1, "1371 * 27": 0.0, "the 40th prime": 0.0}


def write_log(path: Path) -> None:
    """40 steps with a group of 8 each: each question is answered right with its own probability."""
    random.seed(0)
    with path.open("w") as file:
        for step in range(40):
            for question, chance in QUESTIONS.items():
                for _ in range(8):
                    right = random.random() < chance
                    completion = "the right number" if right else f"perhaps {random.randrange(10**6)}"
                    row = {"step": step, "prompt": f"What is {question}?", "completion": completion, "reward": float(right)}
                    file.write(json.dumps(row) + "\n")


def main(logs: list[str]) -> None:
    if not logs:
        write_log(Path("grpo.jsonl"))
        logs = ["grpo.jsonl"]
    run = flatspot.inspect(logs, out="inspected")
    print(f"{run.summary.verdict}: {run.summary.reason}")
    rows = [row for row in run.to_arrow().to_pylist() if row["verdict"] == "vanishing"]
    for row in sorted(rows, key=lambda row: row["error_probability"]):
        print(f"{row['prompt']:<24} mean reward {row['mean']:.2f}, wrong with probability {row['error_probability']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
