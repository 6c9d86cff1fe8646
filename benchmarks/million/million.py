"""`flatspot diagnose` on a million prompts with a scripted policy: seconds, peak memory and files, of the run and of the same run again.

    python benchmarks/million/million.py [--prompts 1000000] [--max-completions 64]

The policy costs next to nothing, so that what is measured is flatspot: prompts read, rounds decided, rows scored, stored and judged, the
report written. Then the same call on what a run leaves that is killed before it is judged (every part is on disk), and on the whole run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from flatspot.engines.scripted import ScriptedEngine
from flatspot.rollouts.parts import part_files, read_rounds

ROWS_PER_PART = 16_384  # of the ray engine


class Parts(ScriptedEngine):
    """The scripted engine with the parts of a pool of workers."""

    rows_per_call = ROWS_PER_PART


def write_inputs(folder: Path, n: int) -> None:
    """Prompts as JSON lines, and the table of the policy: three in ten are hopeless, the others' p is Beta(0.6, 1.2)."""
    rng = np.random.default_rng(0)
    p = np.where(rng.random(n) < 0.3, 0.0, rng.beta(0.6, 1.2, n)).round(4).tolist()
    with (folder / "prompts.jsonl").open("w") as prompts, (folder / "answers.json").open("w") as answers:
        for i, right in enumerate(p):
            text = f"Question {i}: what is the sum of {i % 977} and {i % 1013}? Think step by step, and end with the number."
            prompts.write(json.dumps({"prompt": text, "reference": str(i % 977 + i % 1013)}) + "\n")
            table = json.dumps({text: {str(i % 977 + i % 1013): right, "It is not known.": round(1 - right, 4)}})
            answers.write(("{" if i == 0 else ", ") + table[1:-1])
        answers.write("}")


def _clocks() -> tuple[float, float]:
    """Seconds, and those of CPU time of this process."""
    return time.perf_counter(), time.process_time()


def diagnose(folder: Path, most: int) -> None:
    """One call, in this process; prints what it took."""
    import flatspot
    from flatspot.flow.judge import judge_run

    marks = [_clocks()]

    def judged(*arguments: Any, **named: Any) -> Any:
        marks.append(_clocks())
        return judge_run(*arguments, **named)

    engine = Parts.from_file(folder / "answers.json")
    marks.append(_clocks())
    with mock.patch("flatspot.flow.diagnose.judge_run", judged):
        run = flatspot.diagnose(folder / "prompts.jsonl", engine, "exact_match", out=folder / "run", max_completions=most, seed=0)
    marks.append(_clocks())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures: dict[str, Any] = {}
    for name, (before, after) in zip(("policy", "until judged", "judging"), itertools.pairwise(marks), strict=True):
        figures |= {f"{name}, s": round(after[0] - before[0], 1), f"{name}, CPU s": round(after[1] - before[1], 1)}
    figures["peak GiB"] = round(usage.ru_maxrss / 2**20, 2)
    figures |= {"rows": run.summary.generations.total, "counts": {str(name): int(n) for name, n in run.summary.counts.items()}}
    print(json.dumps(figures))


def timed(folder: Path, most: int) -> dict[str, object]:
    """A call in a process of its own: its peak memory is its own, too."""
    command = [sys.executable, __file__, "--folder", str(folder), "--max-completions", str(most)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--max-completions", type=int, default=64)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # one call on what is there
    options = parser.parse_args()
    if options.folder is not None:
        diagnose(options.folder, options.max_completions)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_inputs(folder, options.prompts)
        print("run   ", timed(folder, options.max_completions), flush=True)
        files = part_files(folder / "run")
        size = sum(part.file.stat().st_size for part in files) / 2**20
        parts = sum(len(this.parts(ROWS_PER_PART)) for this in read_rounds(folder / "run"))
        print(f"{parts} parts in {len(files)} files, {size:.0f} MiB, {len(read_rounds(folder / 'run'))} rounds", flush=True)
        for name in ("notes.json", "verdicts.parquet", "report.json", "report.html"):
            (folder / "run" / name).unlink()
        print("killed before it was judged", timed(folder, options.max_completions), flush=True)
        print("again ", timed(folder, options.max_completions), flush=True)


if __name__ == "__main__":
    main()
