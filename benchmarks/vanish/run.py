"""VanishBench: python benchmarks/vanish/run.py [--quick] [--entry NAME …] [--task NAME …] [--seeds N] [--jobs N] [--out FOLDER]

Runs every entry on every task and writes README.md, results.json and the picture beside this file. An interrupted run resumes. With
`--entry` alone, that entry is run and shown among the stored results of the others, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from vanishbench.entries import ENTRIES, load_entry
from vanishbench.measure import Job, Outcome, float_digest, read_outcome, run
from vanishbench.page import in_short, render
from vanishbench.tasks import TASKS

HERE = Path(__file__).parent
SEEDS = 5
QUICK_TASKS, QUICK_SEEDS, QUICK_SCALE = ("reversed", "partial"), 1, 1 / 8


def stored() -> dict[Job, Outcome]:
    """The results in results.json."""
    rows = json.loads((HERE / "results.json").read_text())["results"]
    return {Job(row["task"], row["entry"], row["seed"]): read_outcome(row["outcome"]) for row in rows}


def write(outcomes: dict[Job, Outcome], folder: Path) -> None:
    """README.md, results.json and vanish.svg."""
    from vanishbench.picture import picture

    rows = (
        json.dumps({"task": job.task, "entry": job.entry, "seed": job.seed, "outcome": asdict(outcome)}, separators=(",", ":"))
        for job, outcome in outcomes.items()
    )
    text = f'{{"digest": "{float_digest(outcomes)}", "results": [\n' + ",\n".join(rows) + "\n]}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(text)
    (folder / "README.md").write_text(render(outcomes))
    (folder / "vanish.svg").write_text(picture(outcomes))


def main() -> None:
    """Parse, run, show, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two tasks, one seed, an eighth of the completions; written only with --out")
    parser.add_argument("--entry", nargs="+", metavar="NAME", help="a name in the table, module:function or file.py:function")
    parser.add_argument("--task", nargs="+", choices=TASKS, metavar="NAME", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"{SEEDS} unless --quick")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; the numbers do not depend on it")
    options = parser.parse_args()
    entries = [load_entry(spec).name for spec in options.entry] if options.entry else list(ENTRIES)
    tasks = list(options.task or (QUICK_TASKS if options.quick else TASKS))
    n_seeds, scale = options.seeds or (QUICK_SEEDS if options.quick else SEEDS), QUICK_SCALE if options.quick else 1.0
    jobs = [Job(task, entry, seed, scale) for task in tasks for entry in entries for seed in range(n_seeds)]
    whole = not (options.quick or options.entry or options.task or options.seeds)
    folder = options.out or (HERE if whole else None)
    outcomes = run(jobs, options.jobs, None if folder is None else HERE / "progress.jsonl")
    beside = stored() if options.entry and not options.quick and (HERE / "results.json").exists() else {}
    shown = {job: o for job, o in beside.items() if job.task in tasks and job.seed < n_seeds} | outcomes
    print(in_short(shown))
    print(f"digest of all numbers: {float_digest(outcomes)}")
    if folder is not None:
        write(outcomes, folder)
        (HERE / "progress.jsonl").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
