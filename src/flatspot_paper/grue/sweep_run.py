"""Run a sweep: what is missing of it, one finetuning after another or on several workers of Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from flatspot.core.errors import FlatspotError
from flatspot.core.provenance import provenance
from flatspot.rollouts.files import write_json
from flatspot_paper.grue.arms import Material, run_arm
from flatspot_paper.grue.cut import tokenizer_cut
from flatspot_paper.grue.data import load_pool
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.grue.source import prompts_of
from flatspot_paper.grue.sweep import Point, Row, Sweep, rows_of, settings_of

Say = Callable[[str], None]


class SweepResults(TypedDict):
    """sweep.json: the rows of what is finished, and how many points and seeds there are."""

    results_version: int
    jobs: int
    rows: list[Row]
    provenance: dict[str, object]


def run_sweep(
    sweep: Sweep, plan: TaskPlan, out: Path, *, workers: int = 1, data: Path | None = None, say: Say = lambda _: None
) -> SweepResults:
    """Make the points that are not in the folder yet, and write the table after each.

    workers  more than 1: so many processes of Ray, each with one point at a time, of the cluster that RAY_ADDRESS names or of this machine;
             on a cluster `out` and `data` are folders that all of it sees

    A point whose training fails is named at the end, when the others are made: raises the first failure.
    """
    jobs = [(point, seed) for point, seed in sweep.jobs() if not _file(out, point, seed).exists()]
    for point, seed in jobs:
        settings_of(point, sweep, plan, seed)  # a wrong setting is told before anything is made
    failed: list[tuple[Point, int, FlatspotError]] = []
    for done, (point, seed, problem) in enumerate(_made(jobs, sweep, plan, out, workers, data, say), 1):
        if problem is not None:
            failed.append((point, seed, problem))
        say(f"{done} of {len(jobs)}: {point.name}, seed {seed}" + (f" failed: {problem}" if problem else ""))
        write_sweep(sweep, out)
    if failed:
        raise failed[0][2]
    return write_sweep(sweep, out)


def _made(
    jobs: list[tuple[Point, int]], sweep: Sweep, plan: TaskPlan, out: Path, workers: int, data: Path | None, say: Say
) -> Iterator[tuple[Point, int, FlatspotError | None]]:
    """Each job as it ends, with its failure."""
    if workers == 1:
        for point, seed in jobs:
            yield point, seed, make(point, seed, sweep, plan, out, data, say)
        return
    from flatspot.engines.ray_actors import RayOptions, started

    ray = started(RayOptions())
    task, rest = ray.remote(num_cpus=1, max_retries=1)(make), list(jobs)
    waiting: dict[Any, tuple[Point, int]] = {}
    while rest or waiting:
        while rest and len(waiting) < workers:
            point, seed = rest.pop(0)
            waiting[task.remote(point, seed, sweep, plan, out.resolve(), data)] = (point, seed)
        [ended], _ = ray.wait(list(waiting), num_returns=1)
        point, seed = waiting.pop(ended)
        yield point, seed, ray.get(ended)


def make(
    point: Point, seed: int, sweep: Sweep, plan: TaskPlan, out: Path, data: Path | None, say: Say | None = None
) -> FlatspotError | None:
    """Finetune as a point says, in its folder, from where an earlier call stopped; the error that a user can mend, or None."""
    told = say or (lambda _: None)
    own, how, labels = settings_of(point, sweep, plan, seed)
    place = _place(out, point, seed)
    try:
        pool = load_pool(plan.task, plan.asked.split, plan.asked.data, data)
        material = Material(own, pool, prompts_of(pool, plan.asked, tokenizer_cut(plan.model)), labels)
        start = plan.model
        if point.arm.startswith("sft"):
            run_arm("sft", material, how, start, place / "sft", seed=seed + 200, say=told)
            start = str(place / "sft" / "policy")
        if point.arm.endswith("rft"):
            name = f"{point.arm}-{sweep.algorithm}"
            run_arm(name, replace(material, labels=None), how, start, place / "rl", seed=seed + 200, say=told)
    except FlatspotError as error:
        return error
    return None


def _place(out: Path, point: Point, seed: int) -> Path:
    return out / "points" / point.name / f"seed-{seed}"


def _file(out: Path, point: Point, seed: int) -> Path:
    return _place(out, point, seed) / ("sft" if point.arm == "sft" else "rl") / "arm.json"


def write_sweep(sweep: Sweep, out: Path) -> SweepResults:
    """sweep.json of what is finished."""
    numbers: dict[tuple[Point, int], dict[str, Any]] = {
        (point, seed): json.loads(file.read_text("utf-8")) for point, seed in sweep.jobs() if (file := _file(out, point, seed)).exists()
    }
    whole: SweepResults = {
        "results_version": 1,
        "jobs": len(sweep.jobs()),
        "rows": rows_of(sweep, numbers),
        "provenance": provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(whole, out / "sweep.json")
    return whole
