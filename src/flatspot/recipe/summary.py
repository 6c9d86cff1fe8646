"""What a recipe came to, as numbers: the object that `flatspot run --json` prints, and each prompt's way through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.plain import JsonObject
from flatspot.core.provenance import provenance
from flatspot.core.schema import PATHS, SCHEMA_VERSION, arrow_schema
from flatspot.recipe.read import Recipe
from flatspot.recipe.stages import Stage
from flatspot.report.recipe.blocks import STAGES
from flatspot.runs.by_step import mean_limits, reward_by_step
from flatspot.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

DIAGNOSED = ("before", "warmed", "after", "after-alone")
_STATES = ("learnable", "vanishing", "solved", "undecided", "unscored")


def summarize(recipe: Recipe, stages: Sequence[Stage]) -> JsonObject:
    """The summary of the stages of a recipe, all of them done."""
    by_name = {stage.name: stage for stage in stages}
    runs = {name: Run(by_name[name].folder) for name in DIAGNOSED if name in by_name}
    first = runs["before"].summary
    lo, hi = first.reward.range
    warmup = by_name.get("warmup")
    probes = int(warmup.result["generations"]) if warmup else 0
    curves = {"train": _curve(by_name["train"], (lo, hi), probes)}
    if "train-alone" in by_name:
        curves["train-alone"] = _curve(by_name["train-alone"], (lo, hi), 0)
    return {
        "schema_version": SCHEMA_VERSION,
        "source": "run",
        "n_prompts": first.n_prompts,
        "reward_range": [lo, hi],
        "epsilon": first.epsilon,
        "reach_threshold": first.reach_threshold,
        "fewest_completions": _fewest(runs.values()),
        "policies": {name: _policy(run) for name, run in runs.items()},
        "moves": {name: _moves(runs["before"], run) for name, run in runs.items() if name != "before"},
        "gain": _gain(runs, (lo, hi)),
        "plan": dict(by_name["plan"].result["labels"]) if "plan" in by_name else None,
        "warmup": None if warmup is None else {name: warmup.result[name] for name in _WARMUP},
        "rewards": curves,
        "cost": _cost(stages),
        "training_cost": _training_cost(by_name),
        "alarms": {name: by_name[name].result["alarms"] for name in ("train", "train-alone") if name in by_name},
        "caveats": _caveats(recipe, by_name, runs),
        "settings": {"prompts": recipe.prompts, "model": recipe.model, "reward": list(recipe.reward), "out": str(recipe.out)}
        | {"algorithm": recipe.algorithm, "seed": recipe.seed},
        "stages": [{"stage": s.name, "folder": str(s.folder), "seconds": s.seconds, "reused": s.reused} for s in stages],
        "provenance": provenance(),
    }


_WARMUP = ("chosen_step", "steps", "labels", "learnt", "generations", "why", "cause", "recovered", "curve", "notes")


def _policy(run: Run) -> JsonObject:
    summary = run.summary
    mean, low, high = mean_limits(run.numbers("mean"), summary.reward.range)
    return {
        "folder": str(run.folder),
        "verdict": summary.verdict,
        "fractions": summary["fractions"],
        "counts": summary["counts"],
        "reward": {"mean": mean, "lo": low, "hi": high, "std": summary.reward.std.mean},
        "generations": summary.generations.total,
    }


def _fewest(runs: Iterable[Run]) -> int | None:
    """The fewest scored completions of a prompt that has a std: how far above its bound a std can lie."""
    counts = np.concatenate([run.numbers("n_scored") for run in runs])
    return int(counts[counts >= 2].min()) if (counts >= 2).any() else None


def _moves(before: Run, after: Run) -> dict[str, dict[str, int]]:
    """How many prompts went from each verdict to each other."""
    pairs = zip(*(run.verdicts["verdict"].to_pylist() for run in (before, after)), strict=True)
    moves = {name: dict.fromkeys(_STATES, 0) for name in _STATES}
    for was, now in pairs:
        moves[was][now] += 1
    return moves


def _gain(runs: Mapping[str, Run], reward_range: tuple[float, float]) -> JsonObject:
    """Mean reward after the recipe less that before it, after the warm-up, and after RL alone; 95% limits over the prompts, paired."""
    span = reward_range[1] - reward_range[0]
    after = runs["after"].numbers("mean")
    gains: JsonObject = {}
    for name, other in (("over_before", "before"), ("over_warmed", "warmed"), ("over_alone", "after-alone")):
        if other in runs:
            mean, lo, hi = mean_limits(after - runs[other].numbers("mean"), (-span, span))
            gains[name] = {"mean": mean, "lo": lo, "hi": hi}
        else:
            gains[name] = None
    return gains


def _curve(stage: Stage, reward_range: tuple[float, float], drawn_before: int) -> list[dict[str, float]]:
    """The rewards of the rollouts, by what was drawn until then, the warm-up's probes included."""
    curve = reward_by_step(stage.run, reward_range)
    columns = (curve.step, curve.generations + drawn_before, curve.mean, curve.lo, curve.hi)
    names = ("step", "generations", "reward", "lo", "hi")
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _cost(stages: Sequence[Stage]) -> list[JsonObject]:
    """What each stage took; labels only where some were learnt, steps only where something was trained."""
    return [
        {
            "stage": stage.name,
            "labels": stage.result.get("labels") if stage.name == "warmup" else None,
            "steps": stage.result.get("steps"),
            "generations": stage.result.get("generations"),
            "seconds": stage.seconds,
        }
        for stage in stages
    ]


def _training_cost(by_name: Mapping[str, Stage]) -> dict[str, JsonObject]:
    """What training took with the warm-up, and without it where that was run: the diagnoses left out."""
    ways = {"to train with warm-up": ("warmup", "train"), "to train without": ("train-alone",)}
    if not {"warmup", "train-alone"} <= by_name.keys():
        return {}
    return {
        name: {
            "labels": sum(by_name[part].result.get("labels", 0) for part in parts),
            "steps": sum(by_name[part].result["steps"] or 0 for part in parts),
            "generations": sum(by_name[part].result["generations"] for part in parts),
            "seconds": sum(by_name[part].seconds for part in parts),
        }
        for name, parts in ways.items()
    }


def _caveats(recipe: Recipe, by_name: Mapping[str, Stage], runs: Mapping[str, Run]) -> list[str]:
    caveats = []
    if recipe.compare and "train-alone" not in by_name:
        caveats.append("There was nothing to warm up, so RL alone is what was run, and there is nothing to compare.")
    if "train-alone" in by_name:
        with_it = by_name["train"].result["generations"] + by_name["warmup"].result["generations"]
        without = by_name["train-alone"].result["generations"]
        caveats.append(
            f"RL after the warm-up and the warm-up's probes drew {with_it:,} completions, RL alone {without:,}; one seed of each says how "
            "this run went, not how every run would."
        )
    if "warmup" in by_name and not by_name["warmup"].result["recovered"] and by_name["warmup"].result["curve"]:
        caveats.append("The warm-up brought no more prompts within the reach of RL than there were, beyond noise.")
    for name in [name for name, run in runs.items() if run.summary.reward.range != runs["before"].summary.reward.range]:
        caveats.append(
            f"The rewards {STAGES[name]} were judged in another range than those before: give the range, in diagnose.reward_range."
        )
    for name in ("train", "train-alone"):
        if name in by_name and by_name[name].result["alarms"]:
            causes = ", ".join(dict.fromkeys(alarm["cause"] for alarm in by_name[name].result["alarms"]))
            caveats.append(f"Alarms were raised during {STAGES[name]}: {causes}.")
    return caveats


def paths_table(stages: Sequence[Stage]) -> pa.Table:
    """A row per prompt and diagnosis, in the order of the stages."""
    import pyarrow as pa

    names = ["prompt_id", "verdict", "mean", "std"]
    parts = []
    for stage in stages:
        if stage.name in DIAGNOSED:
            table = stage.run.verdicts.select(names)
            parts.append(table.append_column("stage", pa.array([stage.name] * table.num_rows, pa.string())))
    schema = arrow_schema(PATHS)
    return pa.concat_tables([part.select(schema.names) for part in parts]).cast(schema)
