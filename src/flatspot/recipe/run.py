"""`flatspot run` on one page: diagnose → plan → warm up → diagnose → RL → diagnose → compare → report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatspot.core.errors import SettingsError
from flatspot.core.plain import JsonObject
from flatspot.core.protocols import Say
from flatspot.core.renamed import with_old_names
from flatspot.recipe import work
from flatspot.recipe.read import Recipe, read_recipe, recipe_of
from flatspot.recipe.results import DiagnosisResult, PlanResult, PolicyResult, TrainingResult
from flatspot.recipe.stages import Stage, do_stage, only_one
from flatspot.recipe.summary import paths_table, summarize
from flatspot.recipe.work import Bench, train_options
from flatspot.rollouts.progress import OnProgress
from flatspot.rollouts.store import write_table
from flatspot.runs.recipe_summary import WarmupOutcome

if TYPE_CHECKING:
    import pyarrow as pa

    from flatspot.runs.recipe_summary import RecipeSummary

_DIAGNOSED = ("run.json", "verdicts.parquet", "report.json")


@dataclass(frozen=True)
class RecipeRun:
    """A recipe that ran to its end.

    stages   in the order they were done
    summary  the object `--json` prints
    paths    a row per prompt and diagnosis: `core.schema.PATHS`
    """

    out: Path
    stages: tuple[Stage, ...]
    summary: RecipeSummary
    paths: pa.Table

    def report(self) -> Path:
        """Write report.html and report.json into the recipe's folder."""
        from flatspot.report.json import write_json
        from flatspot.report.recipe.html import write_recipe_html

        write_table(self.paths, self.out / "paths.parquet")
        write_json(self.summary, self.out / "report.json")
        write_recipe_html(self.summary, self.paths, self.out / "report.html")
        return self.out / "report.html"

    def __str__(self) -> str:
        from flatspot.report.recipe.terminal import recipe_text

        return recipe_text(self.summary)


def run(recipe: Recipe | str | Path | Mapping[str, Any], *, say: Say | None = None, on_progress: OnProgress | None = None) -> RecipeRun:
    """Run a recipe, the YAML file of one, or its keys: to its end, or to where answers are to be written.

    What was done before with the same inputs is taken as it is.

    Raises `SettingsError` where labels wait for their answers, and `FlatspotError` for whatever else the user can fix; the same call
    then resumes.
    """
    recipe = recipe if isinstance(recipe, Recipe) else recipe_of(recipe) if isinstance(recipe, Mapping) else read_recipe(recipe)
    bench = Bench(recipe, say or (lambda _: None), on_progress)
    work.check_options(recipe)
    work.check_answers(bench)
    with only_one(recipe.out):
        before = _diagnose(bench, "before", recipe.model, bench.model_digest)
        if before.result["verdict"] == "fix-reward":
            raise SettingsError(
                f"{before.result['reason']} Nothing was trained. See {before.folder / 'report.html'}, fix it, and run again."
            )
        plan, warmup = _warm_up(bench, before)
        policy, origin = (recipe.model, bench.model_digest) if warmup is None else (_checkpoint(warmup), warmup.key)
        warmed = None if warmup is None else _diagnose(bench, "warmed", policy, origin)
        options = train_options(recipe)
        trained = _train(bench, "train", policy, origin, options)
        after = _diagnose(bench, "after", _checkpoint(trained), trained.key)
        alone = alone_after = None
        if recipe.compare and warmup is not None:
            longer = options | {"max_steps": steps_at_equal_generations(warmup.result, trained.result)}
            alone = _train(bench, "train-alone", recipe.model, bench.model_digest, longer)
            alone_after = _diagnose(bench, "after-alone", _checkpoint(alone), alone.key)
        done = tuple(stage for stage in (before, plan, warmup, warmed, trained, after, alone, alone_after) if stage is not None)
        summary, paths = summarize(recipe, done), paths_table(done)
        result = RecipeRun(recipe.out, done, summary, paths)
        result.report()
    return result


def steps_at_equal_generations(warmup: Mapping[str, Any], trained: Mapping[str, Any]) -> int:
    """How many updates RL alone gets: those of the RL after the warm-up, and as many more as draw what the warm-up's probes drew.

    >>> steps_at_equal_generations({"generations": 130}, {"steps": 20, "generations": 640})
    25
    """
    per_step = trained["generations"] / max(trained["steps"], 1)
    return int(trained["steps"]) + math.ceil(warmup["generations"] / per_step) if per_step else int(trained["steps"])


def _diagnose(bench: Bench, name: str, model: str, origin: str) -> Stage:
    inputs = bench.shared | {"model": origin, "settings": bench.sampling}
    do = lambda folder: work.diagnose_in(bench, model, folder)  # noqa: E731
    return do_stage(bench.recipe.out, name, inputs, do, needs=_DIAGNOSED, kinds=(DiagnosisResult,), say=bench.say)


def _warm_up(bench: Bench, before: Stage) -> tuple[Stage | None, Stage | None]:
    """The plan and the warm-up; None for a plan that is not asked for, and for a warm-up where there is nothing to label."""
    recipe = bench.recipe
    plan = None
    if recipe.labels is None:
        inputs: JsonObject = {"before": before.key, "plan": asdict(recipe.plan), "answer_col": recipe.answer_col}
        needs, do = ("plan.parquet", "labels.jsonl"), lambda folder: work.plan_in(bench, before.run, folder)
        plan = do_stage(recipe.out, "plan", inputs, do, needs=needs, kinds=(PlanResult,), say=bench.say)
    file, rows = work.filled_labels(bench, None if plan is None else plan.folder)
    if not rows:
        if plan is None:
            raise SettingsError(f"{file} holds no label")
        if before.result["verdict"] in ("warm-up", "draw-more"):
            raise SettingsError(
                f"{before.result['reason']} But no single prompt is settled as vanishing yet, so none can be chosen for a label. Raise "
                "diagnose.max_completions, and run again."
            )
        bench.say("no prompt is settled as vanishing, so there is nothing to label: RL starts from the model as it is")
        return plan, None
    rule = None if recipe.rule is None else asdict(recipe.rule)
    learned = {"model": bench.model_digest, "before": before.key, "labels": work.answers_digest(rows)}
    probe = with_old_names(recipe.probe.identity())
    inputs = bench.shared | learned | {"options": dict(recipe.warmup), "rule": rule, "probe": probe, "seed": recipe.seed}
    do = lambda folder: work.warm_up_in(bench, before.run, file, rows, folder)  # noqa: E731
    kinds = (PolicyResult, WarmupOutcome)
    return plan, do_stage(recipe.out, "warmup", inputs, do, needs=("policy",), kinds=kinds, say=bench.say)


def _train(bench: Bench, name: str, model: str, origin: str, options: Mapping[str, Any]) -> Stage:
    recipe = bench.recipe
    inputs = bench.shared | {"model": origin, "options": dict(options), "algorithm": recipe.algorithm, "seed": recipe.seed}
    do = lambda folder: work.train_in(bench, model, options, folder)  # noqa: E731
    return do_stage(recipe.out, name, inputs, do, needs=("trainer", "run.json"), kinds=(PolicyResult, TrainingResult), say=bench.say)


def _checkpoint(stage: Stage) -> str:
    return str(stage.folder / str(stage.result["checkpoint"]))
