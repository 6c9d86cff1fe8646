"""One entry on one task of one seed, measured by enumeration; and many of these over the seeds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from vanishbench.entries import load_entry
from vanishbench.entry import BudgetSpent, new_world
from vanishbench.tasks import TASKS, draw_instance

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """What is measured; `scale` is the part of the completions that the entry has."""

    task: str
    entry: str
    seed: int
    scale: float = 1.0

    @property
    def name(self) -> str:
        """For messages and for what is resumed."""
        return f"{self.task}, {self.entry}, seed {self.seed}, budget × {self.scale:g}"


@dataclass(frozen=True)
class Outcome:
    """What an entry came to.

    start, value, best  exact mean expected reward over the prompts: before, after, and of the best completion of each prompt
    budget, spent       completions that it had and drew
    on_flat             of these, those of prompts that were flat when they were drawn
    labels              prompts whose answer it read
    curve               (completions drawn, value) along the way
    """

    start: float
    value: float
    best: float
    budget: int
    spent: int
    on_flat: int
    labels: int
    curve: tuple[tuple[int, float], ...]

    @property
    def share(self) -> float:
        """Of what there was to gain, how much was gained."""
        return (self.value - self.start) / (self.best - self.start)

    def value_at(self, spent: float) -> float:
        """The value after so many completions."""
        return [value for at, value in self.curve if at <= spent][-1]


def measure(job: Job) -> Outcome:
    """Run the entry until it returns or its budget is spent."""
    instance, entry = draw_instance(TASKS[job.task], job.seed), load_entry(job.entry)
    world = new_world(instance, job.seed, all_labels=entry.all_labels, scale=job.scale)
    budget, labels, start = world.left, world.labels_left, float(world.values().mean())
    with contextlib.suppress(BudgetSpent):
        entry.rule(world)
    value, spent = float(world.values().mean()), budget - world.left
    curve = tuple((at, round(point, 5)) for at, point in (*world.curve, (spent, value)))  # for tables and the picture
    return Outcome(start, value, float(instance.best.mean()), budget, spent, world.spent_on_flat, labels - world.labels_left, curve)


@dataclass(frozen=True)
class Mean:
    """A mean over the seeds and half the width of its 95% interval (Student's t)."""

    mean: float
    half: float


def mean_of(values: Sequence[float]) -> Mean:
    """Of one value per seed; the interval of a single one is unknown.

    >>> mean_of([1.0, 3.0]).mean, round(mean_of([1.0, 3.0]).half, 2)
    (2.0, 12.71)
    """
    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Mean(math.fsum(values) / n, half)


def as_good(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether an entry is about as good as the best one: less than a point of 100 below it, or less than five and within the noise of the
    seeds (the 95% interval of the paired differences contains 0).

    >>> as_good([0.5, 0.6, 0.7], [0.5, 0.7, 0.7]), as_good([0.5, 0.6, 0.7], [0.52, 0.62, 0.72]), as_good([0.0, 0.9], [1.0, 1.0])
    (True, False, False)
    """
    apart = mean_of([b - a for a, b in zip(values, best, strict=True)])
    return apart.mean < 0.01 or (apart.mean < 0.05 and not apart.mean - apart.half > 0)


def code_digest() -> str:
    """Of everything the numbers depend on."""
    source = HERE.parents[2] / "src" / "flatspot"
    own = [file for file in HERE.glob("*.py") if file.name not in ("page.py", "picture.py")]
    files = sorted([*source.rglob("*.py"), *own])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def float_digest(outcomes: Mapping[Job, Outcome]) -> str:
    """Of the bits of every number, in the order of the jobs: equal where two runs came to the same."""
    numbers = [x for job in sorted(outcomes, key=lambda job: job.name) for x in _numbers(asdict(outcomes[job]))]
    return hashlib.sha256(np.array(numbers, np.float64).tobytes()).hexdigest()[:16]


def _numbers(value: object) -> Iterable[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one)
    else:
        yield float(value)  # type: ignore[arg-type]  # what is left is a number


def run(jobs: Sequence[Job], n_processes: int, progress: Path | None) -> dict[Job, Outcome]:
    """Measure all jobs; those in `progress`, of an interrupted run of the same code, are taken from there."""
    code, done = code_digest(), dict[Job, Outcome]()
    if progress is not None and progress.exists():
        lines = [json.loads(line) for line in progress.read_text().splitlines() if line.endswith("}")]
        known = {Job(**line["job"]): line["outcome"] for line in lines if line["code"] == code}
        done = {job: read_outcome(known[job]) for job in jobs if job in known}
    left, began = [job for job in jobs if job not in done], time.monotonic()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # of the processes to come
    with multiprocessing.get_context("spawn").Pool(n_processes, initializer=os.nice, initargs=(5,)) as pool:
        for at, (job, outcome) in enumerate(pool.imap(_measured, left), 1):
            done[job] = outcome
            print(f"\r{at}/{len(left)} {time.monotonic() - began:4.0f} s  {job.name:70.70}", end="", file=sys.stderr, flush=True)
            if progress is not None:
                with progress.open("a") as file:
                    file.write(json.dumps({"code": code, "job": asdict(job), "outcome": asdict(outcome)}) + "\n")
    print(file=sys.stderr)
    return {job: done[job] for job in jobs}


def _measured(job: Job) -> tuple[Job, Outcome]:
    return job, measure(job)


def read_outcome(fields: Mapping[str, object]) -> Outcome:
    """An outcome from its JSON."""
    curve = tuple((int(at), float(value)) for at, value in fields["curve"])  # type: ignore[attr-defined]  # pairs
    return Outcome(**{**fields, "curve": curve})  # type: ignore[arg-type]  # its own fields
