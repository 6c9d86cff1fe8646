"""Draw the picture of docs/explanation/proof.md from masses.json: python benchmarks/triage/masses_picture.py"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
from matplotlib import pyplot

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "docs" / "images" / "known-mass.svg"
AS_REWARDS, WITH_MASSES = "#9a9a9a", "#1d6fb8"


def main():
    results = json.loads((HERE / "masses.json").read_text())["sets"]
    matplotlib.rcParams |= {"svg.hashsalt": "masses", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.2, 3.6), layout="constrained")
    for masses, color, label in ((False, AS_REWARDS, "as rewards"), (True, WITH_MASSES, "with masses")):
        rows = [r for r in results["short"]["triage"] if r["masses"] == masses]
        at = [r["rows"] for r in rows], [100 * r["error"] for r in rows]
        left.plot(*at, color=color, marker="o", markersize=5, label=label)
        for r in rows:
            below = r["target"] == min(r["target"] for r in rows)  # close to the one before
            place = (5, -12) if below else (5, 4)
            left.annotate(f"{r['target']:.0%}", (r["rows"], 100 * r["error"]), xytext=place, textcoords="offset points", color=color)
    left.set(xlabel="completions per prompt", ylabel="wrong verdicts, %", xlim=(0, None), ylim=(0, None))
    left.legend(frameon=False, loc="upper right")
    for entry, style in zip(results.values(), ("-", "--", ":"), strict=False):
        after = {int(n): 100 * share for n, (_, share) in entry["known"].items()}
        right.plot(list(after), list(after.values()), color=WITH_MASSES, linestyle=style, marker="o", markersize=4, label=entry["title"])
    right.set(xscale="log", xlabel="completions of each prompt", ylabel="prompts proved, %", ylim=(-3, 100))
    right.set_xticks([1, 4, 8, 16, 32, 64], ["1", "4", "8", "16", "32", "64"])
    right.minorticks_off()
    right.legend(frameon=False, loc="upper left")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, metadata={"Date": None})
    print(OUT)


if __name__ == "__main__":
    main()
