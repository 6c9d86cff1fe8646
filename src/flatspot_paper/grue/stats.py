"""The statistics of pretrained policies: ten completions of each input, scored; means, stds, percentiles, and the scatter of Fig. 1.

OUT/TASK/pretrained/         a run folder of flatspot: completions, rewards, verdicts, report.html
OUT/TASK/inputs.parquet      a row per input: its id, mean reward, std, scored completions
OUT/TASK/numbers.json        the plan and the numbers; there when the task is finished
OUT/results.json             all tasks
OUT/scatter.svg, .png        reward mean against reward std, a panel per task
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from flatspot.core.plain import Json
from flatspot.core.provenance import provenance
from flatspot.core.records import Prompt
from flatspot.rollouts.files import write_json, write_table
from flatspot_paper.grue.cut import tokenizer_cut
from flatspot_paper.grue.data import load_pool
from flatspot_paper.grue.figures import draw_scatter
from flatspot_paper.grue.finished import finished
from flatspot_paper.grue.numbers import Floats, TaskNumbers, means_and_stds, task_numbers
from flatspot_paper.grue.plan import TaskPlan
from flatspot_paper.grue.source import prompts_of

if TYPE_CHECKING:
    from flatspot.core.protocols import Engine
    from flatspot.rollouts.progress import OnProgress
    from flatspot.runs.run import Run

RESULTS_VERSION = 1
Say = Callable[[str], None]


class TaskResult(TypedDict):
    """numbers.json: `plan` as `TaskPlan.to_json` has it, the data's source, the seconds that sampling took in this process."""

    plan: dict[str, Json]
    source: str
    seconds: float
    numbers: TaskNumbers


class Results(TypedDict):
    """results.json; `tasks` in the order asked for."""

    results_version: int
    scale: str
    stage: str
    seed: int
    tasks: list[TaskResult]
    provenance: dict[str, object]


def run_stats(
    plans: Sequence[TaskPlan],
    out: Path,
    *,
    scale: str,
    seed: int = 0,
    data: Path | None = None,
    say: Say = lambda _: None,
    on_progress: OnProgress | None = None,
) -> Results:
    """Measure each task, or what is missing of it, and write the results.

    Raises `FlatspotError` for what the user can fix: data, rewards or policies that are not to be had, a folder of other settings.
    """
    engines: dict[tuple[str, int], Engine] = {}
    results = []
    for plan in plans:
        for departure in plan.departures:
            say(f"{plan.task.title}: {departure}")
        results.append(_measured(plan, out / plan.task.name, engines, seed, data, on_progress))
    whole: Results = {
        "results_version": RESULTS_VERSION,
        "scale": scale,
        "stage": "stats",
        "seed": seed,
        "tasks": results,
        "provenance": provenance(),
    }
    draw_scatter([(result, inputs_of(out / plan.task.name)) for result, plan in zip(results, plans, strict=True)], out)
    write_json(whole, out / "results.json")
    return whole


def _measured(
    plan: TaskPlan,
    folder: Path,
    engines: dict[tuple[str, int], Engine],
    seed: int,
    data: Path | None,
    on_progress: OnProgress | None,
) -> TaskResult:
    """The numbers of a task: those of its folder where it is finished, else measured now."""
    own: dict[str, Json] = {**plan.to_json(), "seed": seed}
    stored = finished(folder / "numbers.json", TaskResult.__annotations__, "plan", own, "this task measured")
    if stored is not None:
        return cast(TaskResult, stored)
    began = time.monotonic()
    pool = load_pool(plan.task, plan.asked.split, plan.asked.data, data)
    prompts = prompts_of(pool, plan.asked, tokenizer_cut(plan.model))
    numbers = measure(plan, prompts, folder / "pretrained", folder, seed, on_progress, engines)
    result: TaskResult = {"plan": own, "source": pool.source, "seconds": round(time.monotonic() - began, 1), "numbers": numbers}
    write_json(result, folder / "numbers.json")
    return result


def measure(
    plan: TaskPlan,
    prompts: Sequence[Prompt],
    run_folder: Path,
    folder: Path,
    seed: int,
    on_progress: OnProgress | None = None,
    engines: dict[tuple[str, int], Engine] | None = None,
) -> TaskNumbers:
    """Draw and score the plan's completions of its policy, in a run folder; write `folder`/inputs.parquet; the numbers."""
    from flatspot.flow.diagnose import diagnose

    run = diagnose(
        prompts,
        _engine(plan, {} if engines is None else engines),
        plan.reward,
        on_progress=on_progress,
        fixed_completions=True,
        max_completions=plan.completions,
        temperature=plan.sampling.temperature,
        top_p=plan.sampling.top_p,
        top_k=plan.sampling.top_k,
        max_new_tokens=plan.sampling.max_new_tokens,
        seed=seed,
        reward_timeout_s=120.0,
        out=run_folder,
    )
    rewards = rewards_of(run, prompts, plan.completions)
    numbers = task_numbers(rewards)
    _write_inputs(prompts, rewards, folder)
    return numbers


def _engine(plan: TaskPlan, engines: dict[tuple[str, int], Engine]) -> Engine:
    """The engine of a plan, loaded once for all tasks that share it."""
    key = (plan.model, plan.min_new_tokens)
    if key not in engines:
        engines.clear()  # one policy in memory at a time
        if plan.engine == "generate":
            from flatspot.engines.policy import load_policy
            from flatspot_paper.grue.engine import GenerateEngine

            engines[key] = GenerateEngine(load_policy(plan.model), min_new_tokens=plan.min_new_tokens)
        else:
            from flatspot.engines.registry import load_engine

            engines[key] = load_engine(plan.engine, plan.model, dtype=plan.dtype)
    return engines[key]


def rewards_of(run: Run, prompts: Sequence[Prompt], completions: int) -> Floats:
    """[input, completion] the rewards of a run, NaN where one was not scored."""
    place = {prompt.id: row for row, prompt in enumerate(prompts)}
    rewards = np.full((len(prompts), completions), np.nan)
    for batch in run.batches(["prompt_id", "sample_idx", "reward"]):
        rows = np.array([place[name] for name in batch["prompt_id"].to_pylist()], int)
        rewards[rows, batch["sample_idx"].to_numpy()] = batch["reward"].to_numpy()
    return rewards


def _write_inputs(prompts: Sequence[Prompt], rewards: Floats, folder: Path) -> None:
    import pyarrow as pa

    means, stds = means_and_stds(rewards)
    columns = {"input": [prompt.id for prompt in prompts], "mean": means, "std": stds, "scored": np.isfinite(rewards).sum(axis=1)}
    write_table(pa.table(columns), folder / "inputs.parquet")


def inputs_of(folder: Path) -> Any:
    """The table of a task's inputs: input, mean, std, scored."""
    import pyarrow.parquet as pq

    return pq.read_table(folder / "inputs.parquet")
