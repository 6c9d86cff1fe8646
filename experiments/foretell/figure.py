"""The figure of README.md: the change of each prompt's reward against its gain, setting by setting.

python figure.py [--to FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from setting import HERE, SETTINGS
from summary import RESULTS, Result, read

# Okabe and Ito's colors
_COLORS = {"vanishing": "#D55E00", "learnable": "#0072B2", "solved": "#777777", "undecided": "#56B4E9"}
_ROWS = {
    "grpo-centered": "GRPO, centered,\non all prompts",
    "grpo-centered-alone": "GRPO, centered,\non the vanishing ones",
    "grpo-centered-own": "GRPO, centered,\non one at a time",
    "ppo": "PPO,\non all prompts",
}


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=HERE / "results" / "foretell.svg")
    draw(read(RESULTS), parser.parse_args().to)


def draw(results: Sequence[Result], to: Path) -> None:
    """A column per setting and a row per kind of run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    plt.rcParams.update({"svg.hashsalt": "flatspot", "svg.fonttype": "none"})  # the same bytes for the same numbers, and few of them
    settings = [name for name in SETTINGS if any(result["setting"] == name for result in results)]
    size = (1.9 * len(settings) + 1, 1.7 * len(_ROWS) + 0.6)
    figure, panels = plt.subplots(len(_ROWS), len(settings), figsize=size, sharey=True, sharex=True, squeeze=False, layout="constrained")
    by_name = {(result["setting"], result["trainer"]): result for result in results}
    for row, (trainer, title) in enumerate(_ROWS.items()):
        for place, setting in enumerate(settings):
            _panel(panels[row, place], by_name.get((setting, trainer)))
        panels[row, 0].set_ylabel(f"{title}\nchange of reward", fontsize=8)
    for place, setting in enumerate(settings):
        panels[0, place].set_title(setting, fontsize=10)
        panels[-1, place].set_xlabel("gain of the best of 8", fontsize=8)
    marks = [Line2D([], [], marker="o", linestyle="", markersize=4, color=color, label=name) for name, color in _COLORS.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=9)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, facecolor="white", metadata={"Date": None})


def _panel(axes: Any, result: Result | None) -> None:
    axes.tick_params(labelsize=7)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xlim(-0.02, 0.72)
    axes.set_ylim(-0.55, 1.05)
    if result is None:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", fontsize=8, color="#777777")
        return
    prompts = result["prompts"]
    trained = np.array(prompts["trained_on"])
    verdict, gain, change = (np.array(prompts[name])[trained] for name in ("verdict", "gain", "change"))
    for name, color in _COLORS.items():
        chosen = verdict == name
        axes.plot(gain[chosen], change[chosen], marker="o", linestyle="", markersize=2.5, color=color, alpha=0.6)


if __name__ == "__main__":
    main()
