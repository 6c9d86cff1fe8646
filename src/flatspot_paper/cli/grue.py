"""`flatspot reproduce grue`: the spread of the reward of seven text tasks under pretrained policies."""

from __future__ import annotations

import json
from pathlib import Path

import click

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
@click.option("--stage", type=click.Choice(["stats"]), default="stats", show_default=True, help="stats: policies before any finetuning.")
@click.option("--model", metavar="M", help="The policy of every task.  [default: the scale's]")
@click.option("--inputs", type=click.IntRange(1), help="Inputs of each task.  [default: the scale's]")
@click.option("--completions", type=click.IntRange(2), help="Of each input.  [default: 10]")
@click.option("--engine", default="auto", show_default=True, help="At small scale. Of long prompts hf is faster than openvino.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the completions; the inputs have the paper's.")
@click.option(
    "--wordnet", default="auto", show_default=True, metavar="W", help="Of METEOR: auto, a folder of NLTK's data, or none: no synonyms."
)
@click.option("--data", type=_FOLDER, envvar="FLATSPOT_DATA", show_envvar=True, help="Folder of data sets.  [default: the hub]")
@click.option("--out", type=_FOLDER, help="Folder of the results.  [default: flatspot-grue/SCALE]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, every setting resolved.")
@click.option(
    "--tokens-per-second", type=click.FloatRange(0, min_open=True), metavar="N", help="With --dry-run: sampling speed, to estimate hours."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: results.json, or the plans.")
def grue_command(
    tasks: str | None,
    scale: str,
    stage: str,
    model: str | None,
    inputs: int | None,
    completions: int | None,
    engine: str,
    seed: int,
    wordnet: str,
    data: Path | None,
    out: Path | None,
    dry_run: bool,
    tokens_per_second: float | None,
    as_json: bool,
) -> None:
    """Draw ten completions of each training input of seven text tasks, score them, and show the inputs with a small reward std.

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
    from flatspot_paper.grue.words import plans_text, results_text

    if tokens_per_second is not None and not dry_run:
        raise SettingsError("--tokens-per-second is for --dry-run: add it")
    names = [task_named(name.strip()).name for name in tasks.split(",")] if tasks else []
    plans = plan_tasks(
        SCALES[scale],
        list(dict.fromkeys(names)),
        model=model,
        inputs=inputs,
        completions=completions,
        engine=engine,
        wordnet=wordnet,
        folder=data,
    )
    if dry_run:
        hours = [None if tokens_per_second is None else round(plan.hours(tokens_per_second), 2) for plan in plans]
        shown = [{**plan.to_json(), "hours": most, "command": plan.command()} for plan, most in zip(plans, hours, strict=True)]
        click.echo(json.dumps(shown, indent=2) if as_json else plans_text(plans, tokens_per_second))
        return
    from flatspot_paper.grue.stats import run_stats

    where = out or Path("flatspot-grue") / scale
    with progress_bar(silent=as_json) as on_progress:
        results = run_stats(plans, where, scale=scale, seed=seed, data=data, say=say, on_progress=on_progress)
    click.echo(json.dumps(results, indent=2) if as_json else f"{results_text(results)}\n\nFigure   {where / 'scatter.svg'}")
