"""The tables of docs/explanation/overcoming.md, as Markdown, from results/summary.json.

python tables.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from arms import FIVE_PERCENT, FULL, LABELS, LONGER, RL, STRATEGIES, WARMUP, heuristics
from run import RESULTS
from setting import ORACLE_STEPS, PROMPTS, TASKS

Found = Mapping[str, Any]


def main() -> None:
    """Print them all."""
    summary = json.loads((RESULTS.parent / "summary.json").read_text("utf-8"))
    for table in (arms, targets, grid, stopping, strategies):
        print(table(summary), end="\n\n")


def arms(summary: Found) -> str:
    """Reward after RL of each arm; the range over seeds in brackets."""
    names = [RL.name, LONGER.name, *(arm.name for arm in heuristics()), FULL.name, WARMUP.name]
    return _table("arm", names, lambda task, name: _cell(summary[task]["arms"].get(name)))


_SHOWN = {
    RL.name: "RL alone",
    LONGER.name: "RL alone, twice as long",
    FULL.name: "SFT on all labels, 100 steps, then RL",
    WARMUP.name: "SFT on 5% of the labels, stopped by flatspot, then RL",
    "rate": "learning rate ×",
    "temperature": "temperature",
    "entropy": "entropy bonus",
    "best": "the best of the 8 checkpoints",
    "ours": "flatspot's stop",
    "best_validation_loss": "lowest loss on 20 further labels",
    "best_loss_of_two": "lowest loss on 2 further labels",
    "best_sft_accuracy": "best greedy reward on 20 further labels",
    "last": "the last",
}


def _shown(name: str) -> str:
    """A row's name, in words."""
    if name in _SHOWN:
        return _SHOWN[name]
    if name.startswith("rl "):
        setting, value = name.removeprefix("rl ").split("=")
        return f"RL, {_SHOWN[setting]} {value}"
    if name.startswith("oracle "):
        return f"{name.removeprefix('oracle ')} steps"
    return name.replace("ours ", "facility location ")


def targets(summary: Found) -> str:
    """What the page says of the targets."""
    rows = ["warmup_of_full", "best heuristic recovers"]

    def cell(task: str, row: str) -> str:
        targets = summary[task]["targets"]
        if row == "warmup_of_full":
            return f"{targets[row]:.1%}" if row in targets else "-"
        recovered = targets.get("heuristics_recover") or {}
        return f"{max(recovered.values()):.0%} ({max(recovered, key=recovered.get)})" if recovered else "-"

    return _table("target", rows, cell)


def grid(summary: Found) -> str:
    """Reward after RL, labels down and steps across, task by task."""
    steps = (10, 40, 100)
    lines = [f"| labels | {' | '.join(f'{task}, {step} steps' for task in TASKS for step in steps)} |", "|---" * (3 * len(TASKS) + 1) + "|"]
    for labels in LABELS:
        names = [f"oracle {step}" if labels == FIVE_PERCENT else f"sft {labels}x{step}" for step in steps]
        cells = [_mean(summary[task]["arms"].get(name)) for task in TASKS for name in names]
        lines.append(f"| {labels} ({labels / PROMPTS:.0%}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(arm: Found | None) -> str:
    return f"{arm['reward']['mean']:.3f}" if arm else "-"


def stopping(summary: Found) -> str:
    """The oracle's checkpoints, and the reward that each rule ends with."""
    lines = [_table("checkpoint", [f"oracle {s}" for s in ORACLE_STEPS], lambda task, name: _cell(summary[task]["arms"].get(name))), ""]
    names = ["best", "ours", "best_validation_loss", "best_loss_of_two", "best_sft_accuracy", "last"]
    lines.append(_table("rule", names, lambda task, name: f"{v:.3f}" if (v := summary[task]["stopping"]["means"].get(name)) else "-"))
    for task in TASKS:
        stopping = summary[task]["stopping"]
        lines.append(f"{task}: within 5% of the best in {stopping['ours_within_5%']} of {stopping['of']} seeds")
        lines += [
            f"  seed {row['seed']}: " + ", ".join(f"{k} {v}" for k, v in row.items() if k.endswith("_step")) for row in stopping["seeds"]
        ]
    return "\n".join(lines)


def strategies(summary: Found) -> str:
    """Which prompts are labeled."""
    names = [f"{name} {labels}" for labels in (LABELS[0], FIVE_PERCENT) for name in STRATEGIES]

    def cell(task: str, name: str) -> str:
        strategy = summary[task]["strategies"].get(name)
        if not strategy:
            return "-"
        against = "" if strategy["standard_error"] is None else f" ({strategy['against_random']:+.3f} ± {strategy['standard_error']:.3f})"
        return f"{strategy['reward']:.3f}{against}"

    return _table("strategy, labels", names, cell)


def _table(head: str, names: list[str], cell: Any) -> str:
    lines = [f"| {head} | {' | '.join(TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    return "\n".join(lines + [f"| {_shown(name)} | {' | '.join(cell(task, name) for task in TASKS)} |" for name in names])


def _cell(arm: Found | None) -> str:
    if not arm:
        return "-"
    reward = arm["reward"]
    spread = f" ({reward['min']:.2f} to {reward['max']:.2f})" if arm["seeds"] > 1 else ""
    return f"{reward['mean']:.3f}{spread}"


if __name__ == "__main__":
    main()
