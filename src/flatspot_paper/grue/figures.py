"""The scatter of reward mean and reward std, an input a mark, a panel per task. Plots results; computes only positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.leftovers import temporary_beside
from flatspot.core.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 4
_INK, _MARK, _LIMIT = "#1a1a1a", "#0072B2", "#D55E00"  # Okabe and Ito's


def draw_scatter(tasks: Sequence[tuple[Any, Any]], folder: Path) -> None:
    """Write scatter.svg and scatter.png of (`stats.TaskResult`, its table of inputs) pairs."""
    require("matplotlib", extra="reproduce", purpose="Drawing a figure")
    import matplotlib
    from matplotlib.figure import Figure

    down = -(-len(tasks) // _ACROSS)
    with matplotlib.rc_context({"svg.hashsalt": "flatspot", "font.size": 9}):
        figure = Figure(figsize=(2.6 * min(len(tasks), _ACROSS) + 0.4, 2.7 * down), layout="constrained")
        axes = figure.subplots(down, min(len(tasks), _ACROSS), squeeze=False)
        for place, axis in enumerate(axes.flat):
            if place < len(tasks):
                _panel(axis, *tasks[place], left=place % _ACROSS == 0, bottom=place + _ACROSS >= len(tasks))
            else:
                axis.set_visible(False)
        figure.suptitle("pretrained policy: an input a mark; the line is the 10th percentile of the std", fontsize=9, color=_INK)
        for ending in ("svg", "png"):
            temporary = temporary_beside(folder / f"scatter.{ending}")
            hidden = {"Date": None} if ending == "svg" else {}
            figure.savefig(temporary, format=ending, dpi=130, facecolor="white", metadata=hidden)
            temporary.replace(folder / f"scatter.{ending}")


def _panel(axis: Axes, result: Any, inputs: Any, *, left: bool, bottom: bool) -> None:
    means, stds = (np.asarray(inputs[name].to_numpy(), float) for name in ("mean", "std"))
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
