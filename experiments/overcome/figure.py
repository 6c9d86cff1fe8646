"""The figure of docs/explanation/overcoming.md: reward after RL against the length of the warm-up, task by task.

python figure.py [--to FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arms import FULL, RL, WARMUP, heuristics
from run import RESULTS
from setting import HERE, ORACLE_STEPS, TASKS

# Okabe and Ito's colors
_AFTER, _BEFORE, _OURS, _ALONE, _TRIED = "#0072B2", "#56B4E9", "#D55E00", "#000000", "#777777"


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=HERE.parents[1] / "docs/images/overcoming.png")
    draw(json.loads((RESULTS.parent / "summary.json").read_text("utf-8")), parser.parse_args().to)


def draw(summary: Mapping[str, Any], to: Path) -> None:
    """A panel per task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(TASKS), figsize=(10.5, 3.6), sharey=True, layout="constrained")
    for axes, task in zip(panels, TASKS, strict=True):
        _panel(axes, summary[task]["arms"])
        axes.set_title(task, fontsize=11)
        axes.set_xlabel("steps of SFT on 5% of the labels")
    panels[0].set_ylabel("mean reward")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=150, facecolor="white")


def _panel(axes: Any, arms: Mapping[str, Any]) -> None:
    points = [(step, arms[f"oracle {step}"]) for step in ORACLE_STEPS if f"oracle {step}" in arms]
    steps = [step for step, _ in points]
    for key, name, color, mark in (
        ("start_reward", "after SFT, before RL", _BEFORE, "s"),
        ("reward", "after RL from that checkpoint", _AFTER, "o"),
    ):
        axes.plot(steps, [arm[key]["mean"] for _, arm in points], color=color, marker=mark, markersize=4, label=name)
        axes.fill_between(steps, [arm[key]["min"] for _, arm in points], [arm[key]["max"] for _, arm in points], color=color, alpha=0.15)
    if WARMUP.name in arms:
        ours = arms[WARMUP.name]
        x, y = ours["chosen_step"]["mean"], ours["reward"]["mean"]
        axes.plot(
            [x],
            [y],
            marker="*",
            markersize=14,
            markeredgecolor="white",
            linestyle="",
            color=_OURS,
            label="stopped by flatspot, then RL",
            zorder=5,
        )
    axes.axhline(arms[FULL.name]["reward"]["mean"], color=_AFTER, linestyle=":", label="SFT on all labels, then RL")
    axes.axhline(arms[RL.name]["reward"]["mean"], color=_ALONE, linestyle="--", label="RL alone")
    rewards = [arms[arm.name]["reward"]["mean"] for arm in heuristics() if arm.name in arms]
    if rewards:
        axes.axhline(max(rewards), color=_TRIED, linestyle="-.", label="RL with the best heuristic")
    axes.set_xscale("log")
    axes.set_xticks(ORACLE_STEPS, [str(step) for step in ORACLE_STEPS])
    axes.minorticks_off()
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.2)


if __name__ == "__main__":
    main()
