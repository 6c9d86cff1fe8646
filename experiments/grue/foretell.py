"""Does the verdict before finetuning foretell which inputs of GRUE RL moves?

    python foretell.py FOLDER [--out expected.json]

FOLDER is of `flatspot reproduce grue`. The verdict and its numbers come from the ten completions before RL, the change from the ten
others before (`again`) and the ten after, as in `experiments/foretell`, whose measures are used: an input moved where its mean changed by
more than two standard errors. No constant of flatspot was chosen on these tasks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import flatspot

sys.path.insert(0, str(Path(__file__).parents[1] / "foretell"))
from measures import CANDIDATES, Sample, auc, candidates, change, rank_correlation, share

VERDICTS = ("vanishing", "learnable", "solved", "undecided")


def main() -> None:
    """Read, compute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = runs_of(options.folder)
    results = {"runs": [told(row) for row in rows], "pooled": pooled(rows), "sets": sets(rows)}
    text = json.dumps(without_nan(results), indent=1) + "\n"
    if options.out:
        options.out.write_text(text, "utf-8")
    print(text, end="")


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """A run per task, seed and algorithm of RL on the pretrained policy: columns of its inputs."""
    rows = []
    for file in sorted(folder.glob("*/seed-*/rft-*/arm.json")):
        place, task = file.parent, file.parents[2]
        start = flatspot.open(task / "pretrained")
        names = start.verdicts["prompt_id"].to_pylist()
        before, after = (sample_of(one / "inputs.parquet", names) for one in (place.parent / "again", place))
        kept = np.isfinite(before.mean) & np.isfinite(after.mean)
        columns = {name: start.numbers(name) for name in ("mean", "std", "r_star", "relative_std", "p_mixed", "gain", "relative_gain")}
        difference, _, moved = change(before, after)
        first = sample_of(task / "inputs.parquet", names)
        rows.append({
            "task": task.name,
            "seed": int(place.parent.name[5:]),
            "rl": place.name[4:],
            "verdict": np.array(start.verdicts["verdict"].to_pylist())[kept],
            "change": difference[kept],
            "moved": moved[kept],
            "moved_untrained": change(first, before)[2][kept],
            "won": float(difference[kept].mean()),
            "gain": columns["gain"][kept],
            "scores": {name: values[kept] for name, values in candidates(columns, top=1.0).items()},
        })  # fmt: skip
    return rows


def sample_of(file: Path, names: list[str]) -> Sample:
    """The inputs' means and stds in the order of the names; NaN for one without."""
    table = pq.read_table(file).to_pydict()
    place = {name: i for i, name in enumerate(table["input"])}
    rows = [place[name] for name in names]
    mean, std = (np.array([math.nan if table[c][i] is None else table[c][i] for i in rows]) for c in ("mean", "std"))
    return Sample(mean, std, max(table["scored"]))


def told(run: Mapping[str, Any]) -> dict[str, Any]:
    """What moved by verdict, and how well each candidate tells it."""
    moved = run["moved"]
    return {
        **{name: run[name] for name in ("task", "seed", "rl", "won")},
        "inputs": len(moved),
        "moved_up": share(moved > 0, moved < 9),
        "moved_untrained": share(run["moved_untrained"] != 0, moved < 9),
        "verdicts": {
            name: {
                "inputs": int((run["verdict"] == name).sum()),
                "moved_up": share(moved > 0, run["verdict"] == name),
                "moved": share(moved != 0, run["verdict"] == name),
            }
            for name in VERDICTS
        },
        "auc": {name: auc(run["scores"][name], moved > 0) for name in CANDIDATES},
        "rank_correlation": {name: rank_correlation(run["scores"][name], run["change"]) for name in CANDIDATES},
    }


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The inputs of all tasks together, by algorithm of RL."""
    found = {}
    for name in sorted({run["rl"] for run in runs}):
        some = [run for run in runs if run["rl"] == name]
        columns = {key: np.concatenate([run[key] for run in some]) for key in ("verdict", "change", "moved", "moved_untrained")}
        scores = {key: np.concatenate([run["scores"][key] for run in some]) for key in CANDIDATES}
        found[name] = told({"task": "all", "seed": -1, "rl": name, "won": float(columns["change"].mean()), "scores": scores, **columns})
    return found


def sets(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Across tasks: the share of learnable inputs times their mean gain against what RL won, by Spearman; NaN with fewer than three."""
    found = {}
    for name in sorted({run["rl"] for run in runs}):
        some = [run for run in runs if run["rl"] == name]
        numbers = [float(np.where(run["verdict"] == "learnable", np.nan_to_num(run["gain"]), 0.0).mean()) for run in some]
        won = [run["won"] for run in some]
        found[name] = {
            "tasks": [run["task"] for run in some],
            "number": numbers,
            "won": won,
            "rank_correlation": rank_correlation(np.array(numbers), np.array(won)) if len(some) > 2 else math.nan,
        }
    return found


def without_nan(value: Any) -> Any:
    """The value with None for every NaN, and floats of six digits."""
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return (None if math.isnan(value) else round(value, 6)) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
