"""Results: start and end of each group, per run and over the seeds. Numbers only; words.py prints them, figures.py plots them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast

import numpy as np

from flatspot.core.plain import Json
from flatspot.core.provenance import provenance
from flatspot_paper.controlled.plans import Plan
from flatspot_paper.controlled.store import run_record

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS_VERSION = 1
SHOWN_GROUPS = ("small_std", "large_std", "train")
Metric = Literal["reward", "reward_std", "accuracy", "loss", "grad_norm", "normalized_grad_norm", "kl"]
METRICS: tuple[Metric, ...] = ("reward", "reward_std", "accuracy", "loss", "grad_norm", "normalized_grad_norm", "kl")
Run = tuple[int, str, Path]  # seed, method, folder


class CurveRow(TypedDict):
    """A row of curves.parquet with its seed and method; `store.COLUMNS` has the meanings."""

    seed: int
    method: str
    epoch: int
    group: str
    n: int
    loss: float | None
    accuracy: float | None
    set_mass: float | None
    reward: float | None
    reward_std: float | None
    objective: float | None
    kl: float | None
    grad_norm: float | None
    params_norm: float | None
    normalized_grad_norm: float | None


Values = Mapping[Metric, float | None]


class GroupEnds(TypedDict):
    """The metrics of a group of n samples at the start and at the end of a run."""

    n: int
    start: Values
    end: Values


class RunResult(TypedDict):
    """One run; `groups` by name."""

    seed: int
    method: str
    seconds: float | None
    groups: dict[str, GroupEnds]


class OverSeeds(TypedDict):
    """Statistics of one number over the seeds; std (ddof 1) is None for one seed."""

    mean: float
    std: float | None
    min: float
    max: float


class PretrainingResult(TypedDict):
    """One pretraining, at its last epoch."""

    seed: Json
    seconds: float | None
    epochs: int
    loss: float | None
    set_mass: float | None


GroupOverSeeds = dict[Literal["start", "end"], dict[Metric, OverSeeds]]


class SettingFields(TypedDict):
    """The fields of `plans.Setting` that are printed."""

    dataset: str
    model: str


class ScheduleFields(TypedDict):
    """The fields of `plans.Schedule` that are printed."""

    pretrain_epochs: int
    epochs: int


class PlanFields(TypedDict):
    """The fields of `plans.Plan` that are printed; results.json has all but the seed."""

    setting: SettingFields
    schedule: ScheduleFields
    scale: str
    lr: float


class ControlledResults(TypedDict):
    """results.json; `over_seeds` by method and group."""

    results_version: int
    variant: str
    plan: PlanFields
    source: str
    pretraining: list[PretrainingResult]
    runs: list[RunResult]
    over_seeds: dict[str, dict[str, GroupOverSeeds]]
    provenance: dict[str, object]


def collect_curves(runs: Sequence[Run]) -> pa.Table:
    """The curves of all runs, with their seed and method as the first columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for seed, method, folder in runs:
        table = pq.read_table(folder / "curves.parquet")
        table = table.add_column(0, "method", pa.array([method] * len(table)))
        tables.append(table.add_column(0, "seed", pa.array([seed] * len(table), pa.int32())))
    return pa.concat_tables(tables).replace_schema_metadata(None)


def summarize(plan: Plan, source: str, curves: pa.Table, runs: Sequence[Run], pretrained: Sequence[Path]) -> ControlledResults:
    """results.json.

    runs        per run: seed, method, seconds, and for each group the metrics at the start and at the end
    over_seeds  per method and group: mean, std (ddof 1; null for one seed), min and max over the seeds, at the start and at the end
    """
    rows: list[CurveRow] = curves.to_pylist()
    results: list[RunResult] = []
    for seed, method, folder in runs:
        own = [row for row in rows if row["seed"] == seed and row["method"] == method]
        results.append({"seed": seed, "method": method, "seconds": run_record(folder)["seconds"], "groups": _ends(own)})
    settings = {key: value for key, value in asdict(plan).items() if key != "seed"}
    return {
        "results_version": RESULTS_VERSION,
        "variant": plan.variant,
        "plan": cast(PlanFields, settings),
        "source": source,
        "pretraining": [_pretraining(folder) for folder in pretrained],
        "runs": results,
        "over_seeds": _over_seeds(results),
        "provenance": provenance(),
    }


def _ends(rows: Sequence[CurveRow]) -> dict[str, GroupEnds]:
    """The start and the end of each group of one run."""
    groups: dict[str, GroupEnds] = {}
    for group in (*SHOWN_GROUPS, "test"):
        own = sorted((row for row in rows if row["group"] == group), key=lambda row: row["epoch"])
        if not own:
            continue
        metrics: tuple[Metric, ...] = ("loss", "accuracy") if group == "test" else METRICS
        first, last = ({metric: row[metric] for metric in metrics} for row in (own[0], own[-1]))
        groups[group] = {"n": own[0]["n"], "start": first, "end": last}
    return groups


def _pretraining(folder: Path) -> PretrainingResult:
    import pyarrow.parquet as pq

    rows: list[CurveRow] = pq.read_table(folder / "curves.parquet").to_pylist()
    last = [row for row in rows if row["group"] == "train"][-1]
    record = run_record(folder)
    return {
        "seed": record["identity"]["seed"],
        "seconds": record["seconds"],
        "epochs": last["epoch"],
        "loss": last["loss"],
        "set_mass": last["set_mass"],
    }


def _over_seeds(runs: Sequence[RunResult]) -> dict[str, dict[str, GroupOverSeeds]]:
    results: dict[str, dict[str, GroupOverSeeds]] = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run["groups"] for run in runs if run["method"] == method]
        results[method] = {
            group: {"start": _statistics([run[group]["start"] for run in own]), "end": _statistics([run[group]["end"] for run in own])}
            for group in own[0]
        }
    return results


def _statistics(runs: Sequence[Values]) -> dict[Metric, OverSeeds]:
    return {metric: _spread([run[metric] for run in runs]) for metric in runs[0]}


def _spread(values: Sequence[float | None]) -> OverSeeds:
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "std": std, "min": float(array.min()), "max": float(array.max())}
