"""`flatspot run`: a recipe from diagnosis to report."""

from __future__ import annotations

import click


@click.command("run")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False), metavar="RECIPE.YAML")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report.")
def run_command(recipe: str, as_json: bool) -> None:
    """Diagnose, choose labels, warm up, train by RL, diagnose again, report.

    Each stage has a folder under the recipe's `out`, named by what it depends on: it is done once, and again only where something of that
    has changed. Stop it at any time: the same command resumes. If answers are missing, it prints the file to write them to, and stops.

    \b
    flatspot run recipe.yaml
    """
    import contextlib
    import os
    import sys

    from flatspot.cli.output import echo_json, echo_text, say
    from flatspot.cli.progress import progress_bar
    from flatspot.core.errors import SettingsError
    from flatspot.recipe.read import read_recipe
    from flatspot.recipe.run import run
    from flatspot.report.recipe.terminal import recipe_text

    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise SettingsError(
            "flatspot run is one process. To train on several, run the stages by themselves: flatspot diagnose, plan and warmup, then "
            "accelerate launch -m flatspot.cli train"
        )
    chosen = read_recipe(recipe, say=say)
    with progress_bar(silent=as_json) as on_progress, contextlib.redirect_stdout(sys.stderr):  # the trainers' own lines
        outcome = run(chosen, say=say, on_progress=on_progress)
    if as_json:
        echo_json(outcome.summary)
    else:
        echo_text(lambda width: f"{recipe_text(outcome.summary, width=width)}\n\nReport  {outcome.out / 'report.html'}")
