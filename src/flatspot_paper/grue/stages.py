"""The stages after the statistics: RL, SFT, and RL after SFT, of each task; what is missing of them, and the results of all there is.

OUT/TASK/pretrained/, …           as of the stage stats, the policy before finetuning
OUT/TASK/seed-N/again/            other completions of that policy: what changes without any training
OUT/TASK/seed-N/ARM/              rft-ppo, rft-grpo, sft, sft+rft-ppo, sft+rft-grpo
OUT/finetuned.json                all of them, with what they say together
OUT/arms.svg, gap.svg, .png       the figures
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from flatspot.core.provenance import provenance
from flatspot.rollouts.files import write_json
from flatspot_paper.grue.arms import ArmResult, run_arm
from flatspot_paper.grue.compare import Across, TaskComparison, across, compare
from flatspot_paper.grue.cut import tokenizer_cut
from flatspot_paper.grue.data import load_pool
from flatspot_paper.grue.figures import draw_arms, draw_gap
from flatspot_paper.grue.finetune import ALGORITHMS, Algorithm, finetuning_of
from flatspot_paper.grue.finished import read_result
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.grue.source import prompts_of
from flatspot_paper.grue.stats import inputs_of, measure, run_stats
from flatspot_paper.grue.supervised import Material, vanishing_labels

if TYPE_CHECKING:
    from flatspot.rollouts.progress import OnProgress

Stage = str
STAGES: tuple[Stage, ...] = ("stats", "rft", "sft", "sft+rft", "warmup", "all")
ARMS = ("rft-ppo", "rft-grpo", "sft", "sft+rft-ppo", "sft+rft-grpo", "warmup", "warmup+rft-ppo", "warmup+rft-grpo")
Say = Callable[[str], None]


class Finetuned(TypedDict):
    """One task and seed: arms that are finished, by name, and the comparison of its inputs; the title names what stands in for its data."""

    task: str
    title: str
    seed: int
    arms: dict[str, ArmResult]
    comparison: TaskComparison


class Comparison(TypedDict):
    """finetuned.json: all tasks and seeds of the folder, and what holds across tasks, by algorithm."""

    results_version: int
    scale: str
    tasks: list[Finetuned]
    across: dict[str, Across]
    provenance: dict[str, object]


def arms_of(stage: Stage, algorithms: Sequence[Algorithm]) -> list[str]:
    """The arms of a stage, in the order in which they are made.

    >>> arms_of("sft+rft", ["ppo"])
    ['sft', 'sft+rft-ppo']
    """
    rft, after, warmed = ([f"{before}rft-{name}" for name in algorithms] for before in ("", "sft+", "warmup+"))
    of = {"stats": [], "rft": rft, "sft": ["sft"], "sft+rft": ["sft", *after], "warmup": ["warmup", *warmed]}
    return of.get(stage) or [*rft, *of["sft+rft"], *of["warmup"]] if stage != "stats" else []


def run_finetuning(
    plans: Sequence[TaskPlan],
    out: Path,
    *,
    scale: str,
    stage: Stage,
    algorithms: Sequence[Algorithm] = ("ppo",),
    rl_steps: int | None = None,
    sft_steps: int | None = None,
    seed: int = 0,
    data: Path | None = None,
    say: Say = lambda _: None,
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Make what is missing of a stage, task after task, and write the results of all that is finished in the folder.

    Raises `FlatspotError` for what the user can fix.
    """
    for plan in plans:
        run_stats([plan], out, scale=scale, data=data, say=say, on_progress=on_progress)
        pool = load_pool(plan.task, plan.asked.split, plan.asked.data, data)
        prompts = prompts_of(pool, plan.asked, tokenizer_cut(plan.model))
        material = Material(plan, pool, prompts, judged=out / plan.task.name / "pretrained")
        place = out / plan.task.name / f"seed-{seed}"
        _again(material, place / "again", seed, on_progress)
        for arm in arms_of(stage, algorithms):
            if arm.startswith("warmup") and not vanishing_labels(material):
                say(f"{plan.task.title}: no {arm}, as no input is vanishing")
                continue
            say(f"{plan.task.title}: {arm}")
            algorithm: Algorithm = "grpo" if arm.endswith("grpo") else "ppo"
            how = finetuning_of(plan, scale, algorithm, rl_steps=rl_steps, sft_steps=sft_steps, seed=seed)
            start = str(place / arm.partition("+")[0] / "policy") if "+" in arm else plan.model
            run_arm(arm, material, how, start, place / arm, seed=seed + 200, say=say, on_progress=on_progress)
            write_results(out, scale)
    # one task at a time leaves the results of that one
    run_stats(plans, out, scale=scale, data=data, on_progress=on_progress)
    return write_results(out, scale)


def _again(material: Material, folder: Path, seed: int, on_progress: OnProgress | None) -> None:
    """Draw other completions of the policy before finetuning, where they are missing."""
    if not (folder / "numbers.json").exists():
        write_json(measure(material.plan, material.prompts, folder / "after", folder, seed + 100, on_progress), folder / "numbers.json")


def write_results(out: Path, scale: str) -> Comparison:
    """finetuned.json and the figures, of all that is finished in a folder."""
    from flatspot_paper.grue.tasks import TASKS

    finished: list[Finetuned] = []
    tables: dict[tuple[str, int], Mapping[str, Any]] = {}
    for name, task in TASKS.items():
        places = {int(place.name[5:]): place for place in (out / name).glob("seed-*") if place.name[5:].isdecimal()}
        for seed, place in sorted(places.items()):
            read = {arm: read_result(place / arm / "arm.json", ArmResult.__annotations__) for arm in ARMS}
            arms: dict[str, Any] = {arm: result for arm, result in read.items() if result is not None}
            if not arms or not (place / "again" / "numbers.json").exists():
                continue
            inputs = {"pretrained": inputs_of(out / name), "again": inputs_of(place / "again")}
            inputs |= {arm: inputs_of(place / arm) for arm in arms}
            tables[name, seed] = inputs
            data = next(iter(arms.values()))["settings"]["data"]
            title = task.title if data == name else f"{task.title} ({data})"
            finished.append({"task": name, "title": title, "seed": seed, "arms": arms, "comparison": compare(inputs)})
    whole: Comparison = {
        "results_version": 1,
        "scale": scale,
        "tasks": finished,
        "across": {name: across(tables, name) for name in ALGORITHMS if any({f"rft-{name}", "sft"} <= set(t) for t in tables.values())},
        "provenance": provenance(),
    }
    write_json(whole, out / "finetuned.json")
    if finished:
        draw_arms([(f"{one['title']}, seed {one['seed']}", tables[one["task"], one["seed"]]) for one in finished], out)
        draw_gap([(one["title"], one["comparison"]) for one in finished], out)
    return whole
