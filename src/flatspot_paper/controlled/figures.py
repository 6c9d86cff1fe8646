"""SFT against RFT over training, small against large reward std. Plots results; computes only positions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.leftovers import temporary_beside
from flatspot.core.optional import require
from flatspot_paper.controlled.plans import Plan
from flatspot_paper.controlled.results import CurveRow, Metric

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes

# Okabe and Ito's colors, which color-blind readers can distinguish; line styles carry the same information
_STYLES = {"sft": ("SFT", "#0072B2", "-"), "rft": ("RFT", "#D55E00", "--"), "reinforce": ("REINFORCE", "#009E73", ":")}
_COLUMNS = (("small_std", "small reward std (label moved)"), ("large_std", "large reward std (the others)"))
_ROWS: tuple[tuple[Metric, str], ...] = (
    ("reward", "reward"),
    ("reward_std", "reward std"),
    ("accuracy", "accuracy"),
    ("grad_norm", "gradient norm"),
)


def draw_curves(curves: pa.Table, plan: Plan, folder: Path) -> None:
    """Write curves.png and curves.svg: a line per run; columns are groups, rows are metrics, epochs run to the right."""
    require("matplotlib", extra="reproduce", purpose="Drawing a figure")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows: list[CurveRow] = curves.to_pylist()
    figure = Figure(figsize=(8, 9), layout="constrained")
    axes = figure.subplots(len(_ROWS), 2, sharex=True, sharey="row", squeeze=False)
    for j, (group, title) in enumerate(_COLUMNS):
        axes[0][j].set_title(title, fontsize=10)
        axes[-1][j].set_xlabel("epoch of finetuning")
        axes[-1][j].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        for i, (metric, label) in enumerate(_ROWS):
            axis = axes[i][j]
            axis.grid(alpha=0.25)
            if j == 0:
                axis.set_ylabel(label)
            _draw_lines(axis, rows, group, metric)
            if metric == "grad_norm":
                axis.set_yscale("log")
            elif metric == "accuracy":
                axis.set_ylim(-0.03, 1.03)
    methods = {row["method"] for row in rows}
    seeds = len({row["seed"] for row in rows})
    handles = [
        axes[0][0].plot([], [], color=color, linestyle=line, label=name)[0] for m, (name, color, line) in _STYLES.items() if m in methods
    ]
    setting = plan.setting
    figure.suptitle(
        f"{setting.dataset}, {setting.model}: {plan.variant}, lr {plan.lr:g}, {plan.scale} scale, {seeds} seed{'s' if seeds > 1 else ''}",
        fontsize=11,
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    for ending in ("png", "svg"):
        temporary = temporary_beside(folder / f"curves.{ending}")
        figure.savefig(temporary, format=ending, dpi=120, facecolor="white")
        temporary.replace(folder / f"curves.{ending}")


def _draw_lines(axis: Axes, rows: list[CurveRow], group: str, metric: Metric) -> None:
    for method, (_, color, line) in _STYLES.items():
        for seed in sorted({row["seed"] for row in rows}):
            own = [row for row in rows if (row["seed"], row["method"], row["group"]) == (seed, method, group)]
            points = [(row["epoch"], value) for row in own if (value := row[metric]) is not None]
            axis.plot(
                [epoch for epoch, _ in points], [value for _, value in points], color=color, linestyle=line, linewidth=1.2, alpha=0.85
            )
