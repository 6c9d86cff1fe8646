"""`flatspot reproduce grue`: the spread of the reward of seven text tasks before and after finetuning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from flatspot_paper.grue.finetune import Algorithm
    from flatspot_paper.grue.plan import TaskPlan

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("grue")
@click.option("--tasks", metavar="NAME,…", help="Some of the seven: narrativeqa, totto, commongen, iwslt2017, cnn_dm, dailydialog, imdb.")
@click.option(
    "--scale",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="48 inputs and SmolLM2-135M-Instruct, with stand-ins for data that is not here; or the paper's policies, data and 5,000 inputs.",
)
@click.option(
    "--stage",
    type=click.Choice(["stats", "rft", "sft", "sft+rft", "warmup", "all"]),
    default="stats",
    show_default=True,
    help="stats: policies before any finetuning; rft: after RL; sft: after SFT; sft+rft: after SFT, then RL; "
    "warmup: after a warm-up that stops by itself on the labels of 5% of the inputs, then RL; all: all of these.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["ppo", "grpo", "both"]),
    default="ppo",
    show_default=True,
    help="Of RL: ppo, the paper's; grpo, whose advantages are divided by the std of a prompt's group.",
)
@click.option("--rl-steps", type=click.IntRange(1), help="Of RL.  [default: the scale's]")
@click.option("--sft-steps", type=click.IntRange(1), help="Of SFT.  [default: the scale's; at the paper's, its epochs decide]")
@click.option("--model", metavar="M", help="The policy of every task.  [default: the scale's]")
@click.option("--inputs", type=click.IntRange(1), help="Inputs of each task.  [default: the scale's]")
@click.option("--completions", type=click.IntRange(2), help="Of each input.  [default: 10]")
@click.option("--engine", default="auto", show_default=True, help="At small scale. Of long prompts hf is faster than openvino.")
@click.option("--dtype", default="auto", show_default=True, help="In which flatspot's engines sample: float32, bfloat16, …")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the completions and of finetuning; the inputs have the paper's.",
)
@click.option(
    "--wordnet", default="auto", show_default=True, metavar="W", help="Of METEOR: auto, a folder of NLTK's data, or none: no synonyms."
)
@click.option("--data", type=_FOLDER, envvar="FLATSPOT_DATA", show_envvar=True, help="Folder of data sets.  [default: the hub]")
@click.option("--out", type=_FOLDER, help="Folder of the results.  [default: flatspot-grue/SCALE]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, every setting resolved.")
@click.option(
    "--tokens-per-second", type=click.FloatRange(0, min_open=True), metavar="N", help="With --dry-run: sampling speed, to estimate hours."
)
@click.option(
    "--train-tokens-per-second",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="With --dry-run: tokens that finetuning reads, forward and backward, to estimate hours.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: results.json, or the plans.")
def grue_command(
    tasks: str | None,
    scale: str,
    stage: str,
    algorithm: str,
    rl_steps: int | None,
    sft_steps: int | None,
    model: str | None,
    inputs: int | None,
    completions: int | None,
    engine: str,
    dtype: str,
    seed: int,
    wordnet: str,
    data: Path | None,
    out: Path | None,
    dry_run: bool,
    tokens_per_second: float | None,
    train_tokens_per_second: float | None,
    as_json: bool,
) -> None:
    """Draw ten completions of each training input of seven text tasks, score them, and show the inputs with a small reward std.

    The other stages finetune the policy on these inputs, by RL, by SFT, or by both, and draw again.

    The same command resumes a run that was stopped, and leaves finished tasks as they are. The tasks are also prompts of
    flatspot diagnose, as grue:commongen.

    \b
    flatspot reproduce grue --tasks commongen,imdb
    flatspot reproduce grue --scale paper --dry-run --tokens-per-second 5000
    """
    from flatspot.cli.output import say
    from flatspot.cli.progress import progress_bar
    from flatspot.core.errors import SettingsError
    from flatspot_paper.grue.plan import SCALES, plan_tasks
    from flatspot_paper.grue.tasks import task_named

    if (tokens_per_second or train_tokens_per_second) is not None and not dry_run:
        raise SettingsError("--tokens-per-second and --train-tokens-per-second are for --dry-run: add it")
    names = [task_named(name.strip()).name for name in tasks.split(",")] if tasks else []
    measured = {"model": model, "inputs": inputs, "completions": completions, "engine": engine, "dtype": dtype, "wordnet": wordnet}
    plans = plan_tasks(SCALES[scale], list(dict.fromkeys(names)), folder=data, **measured)  # type: ignore[arg-type]
    algorithms: list[Algorithm] = ["ppo", "grpo"] if algorithm == "both" else [algorithm]  # type: ignore[list-item]
    steps = Steps(rl_steps, sft_steps)
    if dry_run:
        click.echo(_plans(plans, scale, stage, algorithms, steps, (tokens_per_second, train_tokens_per_second), as_json=as_json))
        return
    where = out or Path("flatspot-grue") / scale
    with progress_bar(silent=as_json) as on_progress:
        click.echo(
            _made(plans, where, scale, stage, algorithms, steps, as_json=as_json, seed=seed, data=data, say=say, on_progress=on_progress)
        )


class Steps(NamedTuple):
    """Of RL and of SFT; None: the scale's."""

    rl: int | None
    sft: int | None


def _made(
    plans: Sequence[TaskPlan],
    out: Path,
    scale: str,
    stage: str,
    algorithms: Sequence[Algorithm],
    steps: Steps,
    *,
    as_json: bool,
    **options: Any,
) -> str:
    """What a stage made, as text or as JSON."""
    from flatspot_paper.grue.stages import run_finetuning
    from flatspot_paper.grue.stats import run_stats
    from flatspot_paper.grue.words import finetuned_text, results_text

    if stage == "stats":
        results = run_stats(plans, out, scale=scale, **options)
        return json.dumps(results, indent=2) if as_json else f"{results_text(results)}\n\nFigure   {out / 'scatter.svg'}"
    made = run_finetuning(plans, out, scale=scale, stage=stage, algorithms=algorithms, rl_steps=steps.rl, sft_steps=steps.sft, **options)
    return json.dumps(made, indent=2) if as_json else f"{finetuned_text(made)}\n\nFigures  {out / 'arms.svg'}, {out / 'gap.svg'}"


def _plans(
    plans: Sequence[TaskPlan],
    scale: str,
    stage: str,
    algorithms: Sequence[Algorithm],
    steps: Steps,
    speeds: tuple[float | None, float | None],
    *,
    as_json: bool,
) -> str:
    """The plans with the settings of each arm, as text or as JSON."""
    from flatspot_paper.grue.finetune import finetuning_of
    from flatspot_paper.grue.stages import arms_of
    from flatspot_paper.grue.words import plans_text

    def settings(plan: TaskPlan, arm: str) -> dict[str, Any]:
        algorithm: Algorithm = "grpo" if arm.endswith("grpo") else "ppo"
        made = finetuning_of(plan, scale, algorithm, rl_steps=steps.rl, sft_steps=steps.sft)
        tokens = made.tokens(arm, plan)
        known = all(speed is not None or not count for count, speed in zip(tokens, speeds, strict=True))
        hours = sum(count / (speed or 1) for count, speed in zip(tokens, speeds, strict=True)) / 3600
        told = {"sampled_tokens": tokens[0], "read_tokens": tokens[1], "hours": round(hours, 2) if known else None}
        return {**made.to_json(arm), "at_most": told}

    how = [{arm: settings(plan, arm) for arm in arms_of(stage, algorithms)} for plan in plans]
    return _plans_json(plans, how, speeds[0]) if as_json else plans_text(plans, how, speeds[0])


def _plans_json(plans: Sequence[TaskPlan], how: Sequence[Mapping[str, object]], tokens_per_second: float | None) -> str:
    hours = [None if tokens_per_second is None else round(plan.hours(tokens_per_second), 2) for plan in plans]
    shown = [
        {**plan.to_json(), "hours": most, "command": plan.command(), **({"arms": own} if own else {})}
        for plan, most, own in zip(plans, hours, how, strict=True)
    ]
    return json.dumps(shown, indent=2)
