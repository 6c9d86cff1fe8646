"""What `flatspot.record` costs per completion: CPU time beside the same reward without it, for calls as verl and ms-swift make them.

python benchmarks/watch/record.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import flatspot

ROWS, GROUP = 20_000, 64
QUESTION, COMPLETION = "q" * 400, "x" * 4_000


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str == ground_truth)


def accuracy(completions, solution, **columns):
    return [float(text == right) for text, right in zip(completions, solution, strict=True)]


def by_row(reward: Callable[..., object]) -> None:
    for i in range(ROWS):
        reward(
            data_source="gsm8k",
            solution_str=COMPLETION,
            ground_truth="4",
            extra_info={"index": i % 100, "split": "train", "question": QUESTION, "answer": "4"},
        )


def by_batch(reward: Callable[..., object]) -> None:
    messages = [[{"role": "user", "content": QUESTION}, {"role": "assistant", "content": COMPLETION}] for _ in range(GROUP)]
    for step in range(ROWS // GROUP):
        reward([COMPLETION] * GROUP, messages=messages, solution=["4"] * GROUP, trainer_state=SimpleNamespace(global_step=step))


def microseconds(run: Callable[[Callable[..., object]], None], reward: Callable[..., object]) -> float:
    began = time.process_time()
    run(reward)
    return (time.process_time() - began) / ROWS * 1e6


def main() -> None:
    for name, run, reward in (("verl, a row per call", by_row, compute_score), (f"ms-swift, {GROUP} rows per call", by_batch, accuracy)):
        with tempfile.TemporaryDirectory() as folder:
            bare = min(microseconds(run, reward) for _ in range(3))
            recorded = flatspot.record(reward, out=folder)
            took = min(microseconds(run, recorded) for _ in range(3))
            size = sum(file.stat().st_size for file in Path(folder).rglob("*.jsonl")) / (3 * ROWS)
            print(f"{name:<28} {took - bare:5.1f} µs of CPU time and {size:,.0f} bytes per completion (without: {bare:.1f} µs)")


if __name__ == "__main__":
    main()
