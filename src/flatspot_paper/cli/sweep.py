"""`flatspot reproduce sweep`: finetunings of one of GRUE's tasks that differ in some settings, as one table."""

from __future__ import annotations

import json
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("sweep")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes of Ray, each with a finetuning.")
@click.option("--engine", default="auto", show_default=True, help="At small scale. Of long prompts hf is faster than openvino.")
@click.option("--dtype", default="auto", show_default=True, help="In which flatspot's engines sample: float32, bfloat16, …")
@click.option(
    "--wordnet", default="auto", show_default=True, metavar="W", help="Of METEOR: auto, a folder of NLTK's data, or none: no synonyms."
)
@click.option("--data", type=_FOLDER, envvar="FLATSPOT_DATA", show_envvar=True, help="Folder of data sets.  [default: the hub]")
@click.option("--out", type=_FOLDER, help="Folder of the results.  [default: flatspot-sweep/FILE without its ending]")
@click.option("--dry-run", is_flag=True, help="Only list the points, and which of them are made already.")
@click.option("--json", "as_json", is_flag=True, help="Print sweep.json instead of the table.")
def sweep_command(
    file: Path, workers: int, engine: str, dtype: str, wordnet: str, data: Path | None, out: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Finetune a task's policy at every point of a grid that a YAML file names, and write one table.

    The same command goes on where it was stopped, and makes only what is missing, also after points were added to the file.

    \b
    flatspot reproduce sweep experiments/grue/table2.yaml --dry-run
    flatspot reproduce sweep experiments/grue/figure4.yaml --workers 2
    """
    from flatspot.cli.output import say
    from flatspot_paper.grue.sweep import plan_of, read_sweep, table_text
    from flatspot_paper.grue.sweep_run import finished_jobs, run_sweep

    sweep = read_sweep(file)
    where = out or Path("flatspot-sweep") / file.stem
    plan = plan_of(sweep, data, engine=engine, dtype=dtype, wordnet=wordnet)
    for departure in plan.departures:
        say(f"{plan.task.title}: {departure}")
    if dry_run:
        done = finished_jobs(sweep, plan, where)
        lines = [f"{point.name}, seed {seed}" + (": made" if (point, seed) in done else "") for point, seed in sweep.jobs()]
        click.echo("\n".join([*lines, f"{len(sweep.jobs())} in all, {len(sweep.jobs()) - len(done)} to make"]))
        return
    results = run_sweep(sweep, plan, where, workers=workers, data=data, say=say)
    click.echo(json.dumps(results, indent=2) if as_json else f"{table_text(results['rows'])}\n\nResults  {where / 'sweep.json'}")
