"""Every arm, in the order in which they are run: the ones that a conclusion needs first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from setting import FULL_STEPS, ORACLE_STEPS, PROMPTS, TASKS

SEEDS, ORACLE_SEEDS = (0, 1, 2), (0, 1, 2, 3, 4)
HEURISTICS: tuple[Mapping[str, float], ...] = (
    {"rate": 3.0},
    {"rate": 10.0},
    {"temperature": 1.5},
    {"temperature": 2.0},
    {"entropy": 0.01},
    {"entropy": 0.1},
    {"entropy": 1.0},
)
LABELS = tuple(round(PROMPTS * share) for share in (0.01, 0.02, 0.05, 0.10))
FIVE_PERCENT = round(PROMPTS * 0.05)
STRATEGIES = ("random", "hardest", "cover", "ours")  # as arms are called in results/; "ours" is facility location
STRATEGY_STEPS = 25


@dataclass(frozen=True)
class Arm:
    """One RL run and what comes before it.

    kind      "rl", "sft", "oracle" (a checkpoint of an SFT run with 5% of the labels), "warmup" (stopped by flatspot), "strategy"
    labels    how many; 0 without SFT
    steps     of SFT
    strategy  which prompts are labeled
    heuristic what `rl_options` takes
    """

    name: str
    kind: str
    labels: int = 0
    steps: int = 0
    strategy: str = "random"
    heuristic: Mapping[str, float] = field(default_factory=dict)


RL = Arm("rl", "rl")
LONGER = Arm("rl twice as long", "rl", heuristic={"steps": 100})  # more completions than a warm-up's probes and its RL draw together
FULL = Arm("sft-full", "sft", PROMPTS, FULL_STEPS)
WARMUP = Arm("warmup-5%", "warmup", FIVE_PERCENT)
PAPERS = Arm(f"sft {LABELS[0]}x{round(0.4 * FULL_STEPS)}", "sft", LABELS[0], round(0.4 * FULL_STEPS))  # 1% of labels, 40% of steps


def heuristics() -> list[Arm]:
    """RL alone with one setting changed."""
    return [Arm("rl " + " ".join(f"{k}={v:g}" for k, v in change.items()), "rl", heuristic=change) for change in HEURISTICS]


def oracle() -> list[Arm]:
    """The checkpoints of one SFT run with 5% of the labels."""
    return [Arm(f"oracle {steps}", "oracle", FIVE_PERCENT, steps) for steps in ORACLE_STEPS]


def grid() -> list[Arm]:
    """Labels by steps; those with 5% of the labels are the oracle's checkpoints."""
    shares = (round(FULL_STEPS * share) for share in (0.1, 0.4, 1.0))
    return [Arm(f"sft {labels}x{steps}", "sft", labels, steps) for steps in shares for labels in LABELS if labels != FIVE_PERCENT]


def strategies() -> list[Arm]:
    """Which prompts are labeled, at 1% and 5%, all else equal."""
    return [
        Arm(f"labels {name} {labels}", "strategy", labels, STRATEGY_STEPS, name)
        for labels in (LABELS[0], FIVE_PERCENT)
        for name in STRATEGIES
    ]


def queue() -> Iterator[tuple[str, Arm, int]]:
    """(task, arm, seed) of every run, in order."""
    stages: tuple[tuple[list[Arm], Sequence[int], Sequence[str]], ...] = (
        ([RL, FULL, WARMUP, LONGER], SEEDS[:1], tuple(TASKS)),
        (heuristics(), SEEDS[:1], tuple(TASKS)),
        ([PAPERS], SEEDS[:1], tuple(TASKS)),
        (oracle(), SEEDS[:1], tuple(TASKS)),
        ([RL, FULL, WARMUP, PAPERS, LONGER], SEEDS, tuple(TASKS)),
        (oracle(), SEEDS, tuple(TASKS)),
        ([WARMUP, *oracle()], ORACLE_SEEDS, tuple(TASKS)),
        (heuristics(), SEEDS, ("backward",)),
        (grid(), SEEDS[:1], tuple(TASKS)),
        (strategies(), SEEDS, ("brackets", "backward", "capitals")),
        (heuristics(), SEEDS, ("brackets", "capitals")),
        (grid(), SEEDS, tuple(TASKS)),
    )
    yielded = set()
    for arms, seeds, tasks in stages:
        for task in tasks:
            for seed in seeds:
                for arm in arms:
                    if (task, arm.name, seed) not in yielded:
                        yielded.add((task, arm.name, seed))
                        yield task, arm, seed


def described(arm: Arm) -> dict[str, Any]:
    """What a result row says of its arm."""
    return {"arm": arm.name, "kind": arm.kind, "labels": arm.labels, "sft_steps": arm.steps, "strategy": arm.strategy, **arm.heuristic}
