"""The three figures of `flatspot reproduce theory`. They plot results and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.optional import require
from flatspot_paper.theory.results import Measurement, TheoryResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe–Ito, distinguishable with any color vision; each bound also has its own marker
_STYLE = {
    "theorem_1": ("Theorem 1: 6·L·γ·std^(2/3)", "#d55e00", "v"),
    "lipschitz": ("Lipschitz: √L·γ·std", "#e69f00", "s"),
    "collision": ("collision", "#cc79a7", "D"),
    "score": ("score: std·√E‖s‖²", "#0072b2", "o"),
    "median": ("median: √2·L·γ·E|r−median|", "#009e73", "^"),
}
_INK, _GRID = "#1a1a1a", "#dddddd"


def draw_figures(rows: Sequence[Measurement], results: TheoryResults, out: Path) -> list[str]:
    """Write slopes.svg, tightness.svg and separation.svg into `out`; returns their names. Needs matplotlib."""
    require("matplotlib", extra="reproduce", purpose="drawing the figures")
    import matplotlib

    pictures = {"slopes.svg": _slopes, "tightness.svg": _tightness, "separation.svg": _separation}
    settings = {
        "svg.hashsalt": "flatspot",
        "font.size": 10,
        "axes.edgecolor": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]  # the stubs list literal keys
        for name, draw in pictures.items():
            figure = draw(rows, results)
            figure.savefig(out / name, metadata={"Date": None}, facecolor="white")
    return list(pictures)


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _slopes(rows: Sequence[Measurement], results: TheoryResults) -> Figure:
    """True norm and two bounds against the std, a mark per model."""
    figure, axes = _figure()
    usable = [row for row in rows if row["norm"] > 1e-15 and row["std"] > 0]
    std = [row["std"] for row in usable]
    for name in ("theorem_1", "score"):
        label, color, marker = _STYLE[name]
        axes.scatter(
            std, [row["pairs"][name][2] for row in usable], s=11, marker=marker, color=color, alpha=0.55, linewidths=0, label=label
        )
    axes.scatter(std, [row["norm"] for row in usable], s=11, marker="x", color=_INK, alpha=0.7, linewidths=0.8, label="true ‖∇V‖")
    axes.set(xscale="log", yscale="log", xlabel="reward std under the policy", ylabel="gradient norm, and bounds on it")
    axes.set_title(f"{len(rows)} random policies, {results['violations']} violations", loc="left", fontsize=11)
    axes.legend(frameon=False, markerscale=1.8, loc="upper left")
    return figure


def _tightness(_: Sequence[Measurement], results: TheoryResults) -> Figure:
    """Bound over true norm, median and range by band of the std."""
    figure, axes = _figure()
    bands = results["bounds"]["theorem_1"]["times_the_norm"]
    for i, (name, (label, color, marker)) in enumerate(_STYLE.items()):
        full = [(j, band) for j, band in enumerate(results["bounds"][name]["times_the_norm"]) if band["n"]]
        x = [j + (i - 2) * 0.14 for j, _ in full]
        axes.vlines(x, [band["min"] for _, band in full], [band["max"] for _, band in full], color=color, alpha=0.45, linewidth=1.6)
        axes.plot(x, [band["median"] for _, band in full], marker, color=color, markersize=6, label=label)
    axes.set_xticks(range(len(bands)), [f"{band['std_from']:g}–{band['std_to']:g}\nn = {band['n']}" for band in bands])
    axes.axhline(1, color=_INK, linewidth=0.8)
    axes.set(yscale="log", xlabel="reward std under the policy", ylabel="bound / true norm")
    axes.set_title("How loose each bound is: median, and range over the policies", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def _separation(_: Sequence[Measurement], results: TheoryResults) -> Figure:
    """Time to p = 1/2 against the std at the start, RL and SFT, each between its bounds."""
    figure, axes = _figure()
    rows = results["separation"]
    std = [row["std0"] for row in rows]
    rl = ("RL", "#d55e00", "v", [(row["rl"], row["rl_bounds"], row["descent_rl"]) for row in rows])
    sft = ("SFT", "#0072b2", "o", [(row["sft"], row["sft_bounds"], row["descent_sft"]) for row in rows])
    for label, color, marker, times in (rl, sft):
        low, high = zip(*(bounds for _, bounds, _ in times), strict=True)
        axes.fill_between(std, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(std, [time for time, _, _ in times], marker=marker, color=color, label=f"{label}, by the ODE; shaded: its bounds")
        steps = [(x, descent) for x, (_, _, descent) in zip(std, times, strict=True) if descent is not None]
        axes.plot(*zip(*steps, strict=True), "+", color=_INK, markersize=11, label="gradient descent" if label == "SFT" else None)
    axes.set(xscale="log", yscale="log", xlabel="reward std at the start", ylabel="time to p = 1/2 (1 / learning rate)")
    axes.set_title("Time to learn one answer: RL ~ 1/std², SFT ~ ln(1/std)", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure
