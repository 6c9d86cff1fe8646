"""Run a sweep: what is missing of it, one finetuning after another or on several workers of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from flatspot.core.errors import EngineError, FlatspotError, last_line
from flatspot.core.provenance import provenance
from flatspot.rollouts.files import write_json
from flatspot_paper.grue.arms import ArmResult, arm_settings, read_arm, run_arm
from flatspot_paper.grue.cut import tokenizer_cut
from flatspot_paper.grue.data import load_pool
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.grue.source import prompts_of
from flatspot_paper.grue.stats import measure
from flatspot_paper.grue.supervised import Material
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

    A point whose training fails is named at the end, when the others are made: raises the first failure. Raises RunFolderError, before
    anything is made, where the folder holds a point of other settings.
    """
    made = finished_jobs(sweep, plan, out)  # wrong settings are told before anything is made
    jobs = [job for job in sweep.jobs() if job not in made]
    failed: list[FlatspotError] = []
    for done, (point, seed, problem) in enumerate(_made(jobs, sweep, plan, out, workers, data, say), 1):
        say(f"{done} of {len(jobs)}: {point.name}, seed {seed}" + (f" failed: {problem}" if problem else ""))
        if problem is not None:
            failed.append(problem)
        elif (result := _finished(point, seed, sweep, plan, out)) is not None:
            made[point, seed] = result
        _write(sweep, made, out)
    if failed:
        raise failed[0]
    return _write(sweep, made, out)


def finished_jobs(sweep: Sweep, plan: TaskPlan, out: Path) -> dict[tuple[Point, int], ArmResult]:
    """The results that the folder holds. Raises SettingsError for a point that cannot be made, RunFolderError for one of other settings."""
    results = {(point, seed): _finished(point, seed, sweep, plan, out) for point, seed in sweep.jobs()}
    return {job: result for job, result in results.items() if result is not None}


def _finished(point: Point, seed: int, sweep: Sweep, plan: TaskPlan, out: Path) -> ArmResult | None:
    own, how, labels = settings_of(point, sweep, plan, seed)
    arm = _last_arm(point, sweep)
    return read_arm(_place(out, point, seed) / ("sft" if arm == "sft" else "rl"), arm_settings(arm, own, how, labels, seed + 200))


def _last_arm(point: Point, sweep: Sweep) -> str:
    """Whose result is the point's."""
    return point.arm if point.arm == "sft" else f"{point.arm}-{sweep.algorithm}"


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
        problem: FlatspotError | None
        try:
            problem = ray.get(ended)
        except ray.exceptions.RayTaskError:  # a fault of this program
            raise
        except ray.exceptions.RayError as error:
            problem = EngineError(f"its worker of Ray died: {last_line(error)}. It is probably the memory: lower --workers")
        yield point, seed, problem


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
        if (first := point.arm.partition("+")[0]) != "rft":
            if first == "warmup":
                material = replace(material, judged=_judged(own, material, place / "before", seed))
            run_arm(first, material, how, start, place / first, seed=seed + 200, say=told)
            start = str(place / first / "policy")
        if point.arm.endswith("rft"):
            run_arm(_last_arm(point, sweep), material, how, start, place / "rl", seed=seed + 200, say=told)
    except FlatspotError as error:
        return error
    return None


def _judged(plan: TaskPlan, material: Material, folder: Path, seed: int) -> Path:
    """The run folder of the pretrained policy that a warm-up is planned from; drawn now where it is missing."""
    if not (folder / "inputs.parquet").exists():
        measure(plan, material.prompts, folder / "pretrained", folder, seed, None)
    return folder / "pretrained"


def _place(out: Path, point: Point, seed: int) -> Path:
    return out / "points" / point.name / f"seed-{seed}"


def _write(sweep: Sweep, made: Mapping[tuple[Point, int], ArmResult], out: Path) -> SweepResults:
    """sweep.json of what is finished."""
    whole: SweepResults = {
        "results_version": 1,
        "jobs": len(sweep.jobs()),
        "rows": rows_of(sweep, made),
        "provenance": provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(whole, out / "sweep.json")
    return whole
