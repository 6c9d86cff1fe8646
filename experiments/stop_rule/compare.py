"""Rules that pick one of the oracle's eight checkpoints, by the reward after RL from their pick over that from the best: python compare.py

Reads curves.json and the oracle's rows of experiments/overcome/results/runs.jsonl; a task and seed counts once all eight were reinforced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flatspot.training.warmup.stop_rule import StopRule, choose

HERE = Path(__file__).parent
Rows = Sequence[Mapping[str, Any]]
Pick = Callable[[Rows, Rows], int]


def shipped(**changes: float) -> Pick:
    """The step that `choose` takes where it first says stop."""
    rule = StopRule(**({"max_steps": 100} | changes))  # type: ignore[arg-type]

    def pick(curve: Rows, oracle: Rows) -> int:
        choices = [choose(curve[:n], rule) for n in range(1, len(curve) + 1)]
        return next((choice for choice in choices if choice.stop), choices[-1]).step

    return pick


def threshold(share: float) -> Pick:
    """The first checkpoint with this share learnable or solved; the last where none has."""
    return lambda curve, oracle: next((row["step"] for row in curve[1:] if row["recovered"]["mean"] >= share), curve[-1]["step"])


RULES: Mapping[str, Pick] = {
    "as shipped": shipped(),
    "two standard errors": shipped(noise=2.0),
    "no noise": shipped(noise=0.0),
    "half the price": shipped(budget_worth=0.05),
    "twice the price": shipped(budget_worth=0.2),
    "fixed patience": shipped(hope=0.0),
    "half of the prompts recovered": threshold(0.5),
    "nine in ten recovered": threshold(0.9),
    "best reward on the probes": lambda curve, oracle: max(curve[1:], key=lambda row: row["reward"])["step"],
    "best validation loss (20 more labels)": lambda curve, oracle: min(oracle, key=lambda row: row["validation_loss"])["sft_steps"],
    "best SFT accuracy (20 more labels)": lambda curve, oracle: max(oracle, key=lambda row: row["sft_accuracy"])["sft_steps"],
    "no stop": lambda curve, oracle: curve[-1]["step"],
}


def main() -> None:
    """Print the table."""
    curves = json.loads((HERE / "curves.json").read_text())
    runs = [json.loads(line) for line in (HERE.parent / "overcome/results/runs.jsonl").read_text().splitlines()]
    whole = {}
    for name, curve in curves.items():
        task, seed = name.rsplit("-", 1)
        oracle = [row for row in runs if (row["task"], row["kind"], row["seed"]) == (task, "oracle", int(seed))]
        if len({row["sft_steps"] for row in oracle}) == len(curve) - 1:
            whole[name] = (curve, sorted(oracle, key=lambda row: row["sft_steps"]))
    print(f"{len(whole)} tasks and seeds\n\n| rule | mean | worst | within 5% | median step |\n|---|---|---|---|---|")
    for rule, pick in RULES.items():
        shares, steps = [], []
        for curve, oracle in whole.values():
            reward = {row["sft_steps"]: row["reward"] for row in oracle}
            steps.append(pick(curve, oracle))
            shares.append(reward.get(steps[-1], 0.0) / max(reward.values()))  # the start, which RL does not move, counts 0
        within = sum(share >= 0.95 for share in shares)
        print(f"| {rule} | {sum(shares) / len(shares):.3f} | {min(shares):.3f} | {within} | {sorted(steps)[len(steps) // 2]} |")


if __name__ == "__main__":
    main()
