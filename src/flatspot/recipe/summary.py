"""What a recipe came to, as numbers: the object that `flatspot run --json` prints, and each prompt's way through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.json_tree import fields_from_json
from flatspot.core.provenance import provenance
from flatspot.core.schema import PATHS, arrow_schema
from flatspot.recipe.read import Recipe
from flatspot.recipe.stages import Stage
from flatspot.report.recipe.blocks import STAGES
from flatspot.runs.by_step import mean_limits, reward_by_step
from flatspot.runs.recipe_summary import (
    Cost,
    Gain,
    PolicyReward,
    PolicySummary,
    RecipeSummary,
    RewardPoint,
    StageCost,
    StageFolder,
    WarmupOutcome,
)
from flatspot.runs.run import Run
from flatspot.runs.summary import Share
from flatspot.verdicts.judge import VERDICTS

if TYPE_CHECKING:
    import pyarrow as pa

DIAGNOSED = ("before", "warmed", "after", "after-alone")


def summarize(recipe: Recipe, stages: Sequence[Stage]) -> RecipeSummary:
    """The summary of the stages of a recipe, all of them done."""
    by_name = {stage.name: stage for stage in stages}
    runs = {name: Run(by_name[name].folder) for name in DIAGNOSED if name in by_name}
    first = runs["before"].summary
    warmup = fields_from_json(WarmupOutcome, by_name["warmup"].result) if "warmup" in by_name else None
    curves = {"train": _curve(by_name["train"], first.reward.range, warmup.generations if warmup else 0)}
    if "train-alone" in by_name:
        curves["train-alone"] = _curve(by_name["train-alone"], first.reward.range, 0)
    return RecipeSummary(
        n_prompts=first.n_prompts,
        reward_range=first.reward.range,
        reward_model=first.reward_model,
        epsilon=first.epsilon,
        reach_threshold=first.reach_threshold,
        fewest_completions=_fewest(runs.values()),
        policies={name: _policy(run) for name, run in runs.items()},
        moves={name: _moves(runs["before"], run) for name, run in runs.items() if name != "before"},
        gain=_gain(runs, first.reward.range),
        plan=dict(by_name["plan"].result["labels"]) if "plan" in by_name else None,
        warmup=warmup,
        rewards=curves,
        cost=tuple(_cost(stage) for stage in stages),
        training_cost=_training_cost(by_name),
        alarms={name: tuple(by_name[name].result["alarms"]) for name in ("train", "train-alone") if name in by_name},
        caveats=tuple(_caveats(recipe, by_name, runs)),
        settings={"prompts": recipe.prompts, "model": recipe.model, "reward": list(recipe.reward), "out": str(recipe.out)}
        | {"algorithm": recipe.algorithm, "seed": recipe.seed},
        stages=tuple(StageFolder(stage.name, str(stage.folder), stage.seconds, stage.reused) for stage in stages),
        provenance=provenance(),
    )


def _policy(run: Run) -> PolicySummary:
    summary = run.summary
    mean, low, high = mean_limits(run.numbers("mean"), summary.reward.range)
    reward = PolicyReward(mean, low, high, summary.reward.std.mean)
    return PolicySummary(str(run.folder), summary.verdict, summary.fractions, summary.counts, reward, summary.generations.total)


def _fewest(runs: Iterable[Run]) -> int | None:
    """The fewest scored completions of a prompt that has a std: how far above its bound a std can lie."""
    counts = np.concatenate([run.numbers("n_scored") for run in runs])
    return int(counts[counts >= 2].min()) if (counts >= 2).any() else None


def _moves(before: Run, after: Run) -> dict[str, dict[str, int]]:
    """How many prompts went from each verdict to each other."""
    pairs = zip(*(run.verdicts["verdict"].to_pylist() for run in (before, after)), strict=True)
    moves = {name: dict.fromkeys(VERDICTS, 0) for name in VERDICTS}
    for was, now in pairs:
        moves[was][now] += 1
    return moves


def _gain(runs: Mapping[str, Run], reward_range: tuple[float, float]) -> Gain:
    """Mean reward after the recipe less that before it, after the warm-up, and after RL alone; 95% limits over the prompts, paired."""
    span = reward_range[1] - reward_range[0]
    after = runs["after"].numbers("mean")

    def over(name: str) -> Share | None:
        return Share(*mean_limits(after - runs[name].numbers("mean"), (-span, span))) if name in runs else None

    return Gain(over("before"), over("warmed"), over("after-alone"))


def _curve(stage: Stage, reward_range: tuple[float, float], drawn_before: int) -> tuple[RewardPoint, ...]:
    """The rewards of the rollouts, by what was drawn until then, the warm-up's probes included."""
    curve = reward_by_step(stage.run, reward_range)
    columns = (curve.step, curve.generations + drawn_before, curve.mean, curve.lo, curve.hi)
    return tuple(RewardPoint(*row) for row in zip(*(column.tolist() for column in columns), strict=True))


def _cost(stage: Stage) -> StageCost:
    """What a stage took; labels only where some were learned, steps only where something was trained."""
    labels = stage.result.get("labels") if stage.name == "warmup" else None
    return StageCost(stage.name, labels, stage.result.get("steps"), stage.result.get("generations"), stage.seconds)


def _training_cost(by_name: Mapping[str, Stage]) -> dict[str, Cost]:
    """What training took with the warm-up, and without it where that was run: the diagnoses left out."""
    ways = {"to train with warm-up": ("warmup", "train"), "to train without": ("train-alone",)}
    if not {"warmup", "train-alone"} <= by_name.keys():
        return {}
    return {
        name: Cost(
            labels=sum(by_name[part].result.get("labels", 0) for part in parts),
            steps=sum(by_name[part].result["steps"] or 0 for part in parts),
            generations=sum(by_name[part].result["generations"] for part in parts),
            seconds=sum(by_name[part].seconds for part in parts),
        )
        for name, parts in ways.items()
    }


def _caveats(recipe: Recipe, by_name: Mapping[str, Stage], runs: Mapping[str, Run]) -> list[str]:
    texts = []
    if recipe.compare and "train-alone" not in by_name:
        texts.append("There was nothing to warm up, so RL alone is what was run, and there is nothing to compare.")
    if "train-alone" in by_name:
        with_it = by_name["train"].result["generations"] + by_name["warmup"].result["generations"]
        without = by_name["train-alone"].result["generations"]
        texts.append(
            f"RL after the warm-up and the warm-up's probes drew {with_it:,} completions, RL alone {without:,}; one seed of each says how "
            "this run went, not how every run would."
        )
    if "warmup" in by_name and not by_name["warmup"].result["recovered"] and by_name["warmup"].result["curve"]:
        texts.append("The warm-up brought no more prompts within the reach of RL than there were, beyond noise.")
    for name in [name for name, run in runs.items() if run.summary.reward.range != runs["before"].summary.reward.range]:
        texts.append(
            f"The rewards {STAGES[name]} were judged in another range than those before: give the range, in diagnose.reward_range."
        )
    for name in ("train", "train-alone"):
        if name in by_name and by_name[name].result["alarms"]:
            causes = ", ".join(dict.fromkeys(alarm["cause"] for alarm in by_name[name].result["alarms"]))
            texts.append(f"Alarms were raised during {STAGES[name]}: {causes}.")
    return texts


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
