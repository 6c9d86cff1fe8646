"""What came out: start and end of each group, per run and over the seeds. Numbers only; words.py says them, figures.py draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatspot.core.provenance import provenance
from flatspot_paper.controlled.plans import Plan
from flatspot_paper.controlled.store import run_record

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS_VERSION = 1
SHOWN_GROUPS = ("small_std", "large_std", "train")
METRICS = ("reward", "reward_std", "accuracy", "loss", "grad_norm", "normalized_grad_norm", "kl")
Run = tuple[int, str, Path]  # seed, method, folder


def collect_curves(runs: Sequence[Run]) -> pa.Table:
    """The curves of all runs, with their seed and method in front."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for seed, method, folder in runs:
        table = pq.read_table(folder / "curves.parquet")
        table = table.add_column(0, "method", pa.array([method] * len(table)))
        tables.append(table.add_column(0, "seed", pa.array([seed] * len(table), pa.int32())))
    return pa.concat_tables(tables).replace_schema_metadata(None)


def summarize(plan: Plan, source: str, curves: pa.Table, runs: Sequence[Run], pretrained: Sequence[Path]) -> dict[str, Any]:
    """results.json.

    runs        per run: seed, method, seconds, and for each group the metrics at the start and at the end
    over_seeds  per method and group: mean, std (ddof 1; null for one seed), min and max over the seeds, at the start and at the end
    """
    rows = curves.to_pylist()
    described = []
    for seed, method, folder in runs:
        own = [row for row in rows if row["seed"] == seed and row["method"] == method]
        described.append({"seed": seed, "method": method, "seconds": run_record(folder)["seconds"], "groups": _ends(own)})
    settings = {key: value for key, value in asdict(plan).items() if key != "seed"}
    return {
        "results_version": RESULTS_VERSION,
        "variant": plan.variant,
        "plan": settings,
        "source": source,
        "pretraining": [_pretraining(folder) for folder in pretrained],
        "runs": described,
        "over_seeds": _over_seeds(described),
        "provenance": provenance(),
    }


def _ends(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{group: {n, start: {metric: value}, end: {…}}} of one run."""
    found: dict[str, Any] = {}
    for group in (*SHOWN_GROUPS, "test"):
        own = sorted((row for row in rows if row["group"] == group), key=lambda row: row["epoch"])
        if not own:
            continue
        metrics = ("loss", "accuracy") if group == "test" else METRICS
        found[group] = {"n": own[0]["n"]} | {name: {m: row[m] for m in metrics} for name, row in (("start", own[0]), ("end", own[-1]))}
    return found


def _pretraining(folder: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "curves.parquet").to_pylist()
    last = [row for row in rows if row["group"] == "train"][-1]
    record = run_record(folder)
    return {
        "seed": record["identity"]["seed"],
        "seconds": record["seconds"],
        "epochs": last["epoch"],
        "loss": last["loss"],
        "set_mass": last["set_mass"],
    }


def _over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run["groups"] for run in runs if run["method"] == method]
        found[method] = {
            group: {
                when: {metric: _spread([run[group][when][metric] for run in own]) for metric in own[0][group][when]}
                for when in ("start", "end")
            }
            for group in own[0]
        }
    return found


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "std": std, "min": float(array.min()), "max": float(array.max())}
