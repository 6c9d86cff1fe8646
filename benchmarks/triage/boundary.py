"""Draw the stopping boundary of docs/explanation/triage.md: python benchmarks/triage/boundary.py"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot

sys.path.insert(0, str(Path(__file__).parent))

from populations import BINARY
from rivals import on_grid

from flatspot.stats.models.binary import state_table
from flatspot.stats.triage.stopping import PRICES, cheapest_price, expected, stopping_rules, tabulate_states
from flatspot.stats.zones import STATES, Zones

OUT = Path(__file__).parents[2] / "docs" / "images" / "stopping-boundary.svg"
SHOWN = 40
MARKS = {"draw again": ("#9a9a9a", "o"), "vanishing": ("#c2410c", "s"), "learnable": ("#1d6fb8", "^"), "solved": ("#2f855a", "D")}


def reachable(rule):
    """The states a prompt can be in, and whether it is drawn on there."""
    reachable = {(0, 0)}
    for n in range(SHOWN):
        for s in range(n + 1):
            if (n, s) in reachable and rule.go[n, s]:
                reachable |= {(n + 1, s), (n + 1, s + 1)}
    return sorted(reachable)


def main():
    weights = on_grid(BINARY["hard"](400_000, np.random.default_rng(7)))
    view = tabulate_states(weights, state_table(Zones(0.05), 0.0, 1.0)[1], 64)
    price = PRICES[cheapest_price(*expected(view, PRICES, np.zeros((1, 2), int)), np.ones(1, int), 0.02)]
    rule = stopping_rules(view, np.array([price]))[0]
    rows = [
        {"samples": n, "ones": s, "then": "draw again" if rule.go[n, s] else STATES[int(view.risk[n, s].argmin())]}
        for n, s in reachable(rule)
    ]
    matplotlib.rcParams |= {"svg.hashsalt": "boundary", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    figure, axes = pyplot.subplots(figsize=(8.2, 3.9), layout="constrained")
    for name, (color, marker) in MARKS.items():
        places = [(row["samples"], row["ones"]) for row in rows if row["then"] == name]
        axes.plot(*zip(*places, strict=True), color=color, marker=marker, markersize=5, linestyle="", label=name)
    axes.set(xlabel="completions of one prompt", ylabel="of these with reward 1")
    axes.legend(frameon=False, loc="upper left")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, metadata={"Date": None})
    stops = {name: [(r["samples"], r["ones"]) for r in rows if r["then"] == name][:6] for name in STATES}
    print(f"price {rule.price:.5f}, {rule.draws[0, 0]:.1f} samples expected, error {rule.error[0, 0]:.4f}, first stops {stops}")


if __name__ == "__main__":
    main()
