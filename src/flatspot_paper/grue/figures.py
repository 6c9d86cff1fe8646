"""Reward mean and reward std of each input, before and after finetuning, and the gap between SFT and RL. Computes only positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.leftovers import temporary_beside
from flatspot.core.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 4
_ARM_TITLES = {
    "pretrained": "pretrained",
    "rft-ppo": "RL (PPO)",
    "rft-grpo": "RL (GRPO)",
    "sft": "SFT",
    "sft+rft-ppo": "SFT, then PPO",
    "sft+rft-grpo": "SFT, then GRPO",
    "warmup": "warm-up",
    "warmup+rft-ppo": "warm-up, then PPO",
    "warmup+rft-grpo": "warm-up, then GRPO",
}
_INK, _MARK, _LIMIT = "#1a1a1a", "#0072B2", "#D55E00"  # Okabe and Ito's


def draw_scatter(tasks: Sequence[tuple[Any, Any]], folder: Path) -> None:
    """Write scatter.svg and scatter.png of (`stats.TaskResult`, its table of inputs) pairs."""
    down = -(-len(tasks) // _ACROSS)
    with _drawing(folder, "scatter", (2.6 * min(len(tasks), _ACROSS) + 0.4, 2.7 * down)) as figure:
        axes = figure.subplots(down, min(len(tasks), _ACROSS), squeeze=False)
        for place, axis in enumerate(axes.flat):
            if place < len(tasks):
                _panel(axis, *tasks[place], left=place % _ACROSS == 0, bottom=place + _ACROSS >= len(tasks))
            else:
                axis.set_visible(False)
        figure.suptitle("pretrained policy: an input a mark; the line is the 10th percentile of the std", fontsize=9, color=_INK)


def draw_arms(tasks: Sequence[tuple[str, Mapping[str, Any]]], folder: Path) -> None:
    """Write arms.svg and arms.png of (title, tables of inputs by arm) pairs: a row per task, a column per arm."""
    arms = [name for name in _ARM_TITLES if any(name in tables for _, tables in tasks)]
    with _drawing(folder, "arms", (2.2 * len(arms) + 0.4, 2.1 * len(tasks) + 0.4)) as figure:
        axes = figure.subplots(len(tasks), len(arms), squeeze=False, sharex=True, sharey=True)
        for (title, tables), row in zip(tasks, axes, strict=True):
            row[0].set_ylabel(f"{title}\nreward std".replace(" (", "\n("), fontsize=8)
            for name, axis in zip(arms, row, strict=True):
                axis.grid(alpha=0.25)
                if name in tables:
                    axis.scatter(*_means_and_stds(tables[name]), s=8, color=_MARK, alpha=0.6, linewidths=0)
                else:
                    axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=_INK, fontsize=8)
        for name, top, bottom in zip(arms, axes[0], axes[-1], strict=True):
            top.set_title(_ARM_TITLES[name], fontsize=9)
            bottom.set_xlabel("reward mean")
        axes[0][0].set_xlim(-0.02, 1.02)
        axes[0][0].set_ylim(-0.01, 0.55)


def draw_gap(tasks: Sequence[tuple[str, Any]], folder: Path) -> None:
    """Write gap.svg and gap.png of (title, `compare.TaskComparison`): std before finetuning against SFT's reward minus RL's."""
    with _drawing(folder, "gap", (4.4, 3.4)) as figure:
        axis = figure.subplots()
        for algorithm, color in (("ppo", _MARK), ("grpo", _LIMIT)):
            own = [(title, one["tenth"], one["gaps"][algorithm]) for title, one in tasks if algorithm in one["gaps"]]
            below = _under_another([(x["value"], y["value"]) for _, x, y in own])
            for number, (title, x, y) in enumerate(own):
                spread = [[[at["value"] - at["low"]], [at["high"] - at["value"]]] for at in (x, y)]
                label = f"RL by {algorithm.upper()}" if number == 0 else None
                axis.errorbar(x["value"], y["value"], xerr=spread[0], yerr=spread[1], fmt="o", ms=4, color=color, lw=0.8, label=label)
                if algorithm == "ppo" or len(own) == len(tasks):
                    place = (4, -9 if number in below else 4)
                    axis.annotate(title, (x["value"], y["value"]), xytext=place, textcoords="offset points", fontsize=7, color=_INK)
        axis.axhline(0, color=_INK, linewidth=0.6)
        axis.set_xlabel("10th percentile of the std before finetuning")
        axis.set_ylabel("reward after SFT minus after RL")
        axis.grid(alpha=0.25)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)


def _under_another(points: Sequence[tuple[float, float]], near: float = 0.06) -> set[int]:
    """Which points lie so close under another that its label would cover theirs, as shares of the width and height of all."""
    width, height = (max(np.ptp([point[i] for point in points]), 1e-9) for i in (0, 1)) if points else (1.0, 1.0)
    return {
        number
        for number, (x, y) in enumerate(points)
        if any(0 < (above - y) / height < near and abs(x - other) / width < 0.3 for other, above in points)
    }


@contextmanager
def _drawing(folder: Path, name: str, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure that is written as NAME.svg and NAME.png, whole or not at all."""
    require("matplotlib", extra="reproduce", purpose="Drawing a figure")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "flatspot", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        for ending in ("svg", "png"):
            temporary = temporary_beside(folder / f"{name}.{ending}")
            hidden = {"Date": None} if ending == "svg" else {}
            figure.savefig(temporary, format=ending, dpi=130, facecolor="white", metadata=hidden)
            temporary.replace(folder / f"{name}.{ending}")


def _means_and_stds(inputs: Any) -> tuple[Any, Any]:
    mean, std = (np.asarray(inputs[name].to_numpy(), float) for name in ("mean", "std"))
    return mean, std


def _panel(axis: Axes, result: Any, inputs: Any, *, left: bool, bottom: bool) -> None:
    means, stds = _means_and_stds(inputs)
    plan, tenth = result["plan"], result["numbers"]["percentiles"]["p10"]["value"]
    axis.scatter(means, stds, s=9, color=_MARK, alpha=0.6, linewidths=0)
    axis.axhline(tenth, color=_LIMIT, linewidth=0.9, linestyle="--")
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.01, 0.55)  # no reward in [0, 1] has an std above 0.5, but for ddof 1
    own = plan["data"] == plan["task"]
    axis.set_title(plan["title"] if own else f"{plan['title']}\n({plan['data']} stands in)", fontsize=9)
    axis.grid(alpha=0.25)
    if left:
        axis.set_ylabel("reward std")
    if bottom:
        axis.set_xlabel("reward mean")
