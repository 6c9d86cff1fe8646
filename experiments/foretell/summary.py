"""What the runs say, as JSON and as the tables of README.md.

python summary.py [--work work]

With --work, finished runs are first copied to results/: a file per setting and trainer, without completions.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measures import CANDIDATES, auc, rank_correlation, share
from setting import HERE, SETTINGS
from trainers import TRAINERS

RESULTS = HERE / "results"
Result = Mapping[str, Any]
_ABSOLUTE = ("std", "p_mixed", "gap", "gain", "gain_over_headroom")  # within a setting the relative ones have the same ranks
_START, _END = "<!-- tables -->", "<!-- end of tables -->"


def main() -> None:
    """Collect, summarize, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.work:
        collect(options.work, RESULTS)
    results = read(RESULTS)
    summary = {"runs": [of_run(result) for result in results], "pooled": pooled(results)}
    (RESULTS / "summary.json").write_text(json.dumps(_without_nan(summary), indent=1) + "\n", "utf-8")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(_START)
    readme.write_text(f"{before}{_START}\n\n{tables(results)}\n\n{_END}{rest.partition(_END)[2]}", "utf-8")


def collect(work: Path, to: Path) -> None:
    """Copy results.json of every finished run, a line per column."""
    for file in sorted(work.glob("*/*/results.json")):
        result = json.loads(file.read_text("utf-8"))
        if file.parts[-3] in SETTINGS:
            target = to / file.parts[-3] / f"{file.parts[-2]}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_by_column(result), "utf-8")


def _by_column(result: Result) -> str:
    columns = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in result.get("prompts", {}).items())
    facts = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items() if name != "prompts")
    return f'{{\n{facts},\n "prompts": {{\n{columns}\n }}\n}}\n' if columns else f"{{\n{facts}\n}}\n"


def read(folder: Path) -> list[Result]:
    """The finished runs, in the order of the settings and the trainers; those that were skipped are left out."""
    files = [folder / setting / f"{trainer}.json" for setting in SETTINGS for trainer in TRAINERS]
    every = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    return [result for result in every if "prompts" in result]


def column(results: Sequence[Result], name: str, *, on: Callable[[Result], bool] = lambda result: True) -> np.ndarray:
    """A column of the prompts of several runs, those that RL was run on, one run after another."""
    parts = [np.array(r["prompts"][name])[np.array(r["prompts"]["trained_on"])] for r in results if on(r)]
    return np.concatenate(parts) if parts else np.zeros(0)


def of_runs(results: Sequence[Result]) -> dict[str, Any]:
    """Of the prompts of some runs together: what moved, by verdict, and how well each candidate tells it."""
    verdict, moved, change = (column(results, name) for name in ("verdict", "moved", "change"))
    numbers = {
        "prompts": len(verdict),
        "moved_up": share(moved > 0, moved < 9),
        "moved_untrained": share(column(results, "moved_untrained") != 0, moved < 9),
        "mean_change": float(change.mean()),
    }
    for name in ("vanishing", "learnable", "solved", "undecided"):
        numbers[name] = {
            "prompts": int((verdict == name).sum()),
            "moved_up": share(moved > 0, verdict == name),
            "moved": share(moved != 0, verdict == name),
        }
    scores = {name: column(results, name) for name in CANDIDATES}
    numbers["rank_correlation"] = {name: rank_correlation(score, change) for name, score in scores.items()}
    numbers["auc"] = {name: auc(score, moved > 0) for name, score in scores.items()}
    return numbers


def of_run(result: Result) -> dict[str, Any]:
    """One run: its facts and numbers."""
    return {name: value for name, value in result.items() if name != "prompts"} | of_runs([result])


def pooled(results: Sequence[Result]) -> dict[str, Any]:
    """All settings of a half together, for each trainer."""
    groups = {
        f"{half} {trainer}": [result for result in results if (result["half"], result["trainer"]) == (half, trainer)]
        for half in ("choose", "report")
        for trainer in TRAINERS
    }
    return {name: of_runs(group) | {"settings": [r["setting"] for r in group]} for name, group in groups.items() if group}


def tables(results: Sequence[Result]) -> str:
    """The Markdown of both tables of runs, and of the pooled one."""
    rows = [(result["setting"], result["half"], result["trainer"], of_run(result)) for result in results]
    moves = [
        "| setting | half | RL | mean reward | vanishing: moved up | learnable: moved up | solved: moved up | untrained |",
        "|" + "---|" * 8,
    ]
    ranks = ["| setting | RL | " + " | ".join(_ABSOLUTE) + " |", "|" + "---|" * (len(_ABSOLUTE) + 2)]
    for (setting, half, trainer, run), result in zip(rows, results, strict=True):
        before, after = (float(column([result], name).mean()) for name in ("before", "after"))
        parts = " | ".join(_of(run[verdict]) for verdict in ("vanishing", "learnable", "solved"))
        moves.append(f"| {setting} | {half} | {trainer} | {before:.2f} → {after:.2f} | {parts} | {_percent(run['moved_untrained'])} |")
        cells = " | ".join(f"{_two(run['rank_correlation'][name])}, {_two(run['auc'][name])}" for name in _ABSOLUTE)
        ranks.append(f"| {setting} | {trainer} | {cells} |")
    shares = ("vanishing: moved up", "learnable: moved up")
    together = ["| half and RL | settings | " + " | ".join((*shares, *CANDIDATES)) + " |", "|" + "---|" * (len(CANDIDATES) + 4)]
    for name, group in pooled(results).items():
        parts = " | ".join(_of(group[verdict]) for verdict in ("vanishing", "learnable"))
        cells = " | ".join(f"{_two(group['rank_correlation'][one])}, {_two(group['auc'][one])}" for one in CANDIDATES)
        together.append(f"| {name} | {len(group['settings'])} | {parts} | {cells} |")
    return "\n".join([
        "What moved, of the prompts that RL was run on (share, of how many):", "", *moves, "",
        "Rank correlation with the change, AUC for \"moved up by more than noise\" (–: all prompts are alike, all moved, or none):", "",
        *ranks, "", "The same over all prompts of a half together:", "", *together,
    ])  # fmt: skip


def _of(part: Mapping[str, Any]) -> str:
    return f"{_percent(part['moved_up'])} of {part['prompts']}" if part["prompts"] else "–"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
