"""Run the arms, one JSON line per finished run; what is done is skipped.

    python run.py [--task capitals] [--arm ARM] [--seed 0] [--work FOLDER] [--minutes 80]

Start it twice for two cores: a run is claimed by one process. `touch FOLDER/stop` ends both after the run they are in.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from arms import Arm, described, queue
from setting import HERE, TASKS, Task

RESULTS = HERE / "results" / "runs.jsonl"


def main() -> None:
    """Work through the queue until it is empty or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(TASKS))
    parser.add_argument("--arm", help="a name, or its beginning")
    parser.add_argument("--kind", help="only arms of this kind")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of checkpoints; may be deleted")
    parser.add_argument("--minutes", type=float, default=1e9)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    RESULTS.parent.mkdir(exist_ok=True)
    for name, arm, seed in queue():
        if time.monotonic() > end or (options.work / "stop").exists():
            return
        matches = (options.task in (None, name), arm.name.startswith(options.arm or ""), options.kind in (None, arm.kind))
        if all(matches) and options.seed in (None, seed) and (name, arm.name, seed) not in done():
            attempt(TASKS[name], arm, seed, options.work)


def done() -> set[tuple[str, str, int]]:
    """(task, arm, seed) of the finished runs."""
    return {(row["task"], row["arm"], row["seed"]) for row in read()}


def read() -> list[dict[str, Any]]:
    """The rows so far."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []


def attempt(task: Task, arm: Arm, seed: int, work: Path) -> None:
    """One run, unless another process has it; a failure is told, and the next run goes on."""
    with claimed(work / "claims" / f"{task.name}-{arm.name}-{seed}".replace(" ", "_").replace("%", "")) as mine:
        if not mine or (task.name, arm.name, seed) in done():
            return
        from kinds import KINDS

        folder, since = work / f"run-{os.getpid()}", time.monotonic()
        try:
            result = KINDS[arm.kind](task, arm, seed, work, folder)
        except Exception:
            traceback.print_exc()
            print(f"FAILED {task.name} {arm.name} {seed}", file=sys.stderr, flush=True)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        row = {"task": task.name, "seed": seed, **described(arm), **result, "seconds": round(time.monotonic() - since, 1)}
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{time.strftime('%H:%M:%S')} {task.name:9} {arm.name:22} seed {seed}: {result['reward']:.3f} ({row['seconds']:.0f} s)",
            flush=True,
        )


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether the run is ours; the claim ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    main()
