"""`flatspot demo`: the whole tool on a small real language model, offline; with --train, the paper on one screen."""

from __future__ import annotations

from pathlib import Path

import click

from flatspot.cli.options import refuse_unread
from flatspot.cli.renamed import renamed_option


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder.  [default: flatspot-demo; with --train, flatspot-demo-train]",
)
@renamed_option(
    "--max-completions",
    before="--samples",
    type=click.IntRange(2),
    default=32,
    show_default=True,
    help="Completions per prompt, at most.",
)
@click.option("--engine", type=click.Choice(["auto", "hf", "openvino"]), default="auto", show_default=True, help="What draws them.")
@click.option("--train", is_flag=True, help="See RL stall on a tiny model, and succeed after a warm-up.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the trainings of --train.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report.")
@click.pass_context
def demo_command(ctx: click.Context, out: Path | None, max_completions: int, engine: str, train: bool, seed: int, as_json: bool) -> None:
    """Diagnose SmolLM2-135M-Instruct on reasoning-gym prompts from trivial to impossible.

    Takes about two minutes on two cores the first time; a second call shows the same run at once.

    With --train: a tiny model that ships with the package, a task its habits leave vanishing, RL alone, with a larger learning rate, at a
    higher temperature, with an entropy bonus, and after a warm-up on 5% of the labels.
    """
    if train:
        _train(ctx, out or Path("flatspot-demo-train"), seed, as_json)
        return
    refuse_unread(["seed"], "is for the demo with --train: add it")
    from flatspot.cli.output import say, show
    from flatspot.cli.progress import progress_bar
    from flatspot.flow.demo import demo

    with progress_bar(silent=as_json) as on_progress:
        run = demo(out=out or Path("flatspot-demo"), max_completions=max_completions, engine=engine, say=say, on_progress=on_progress)
    show(run, as_json=as_json, fail_above=None)


def _train(ctx: click.Context, out: Path, seed: int, as_json: bool) -> None:
    from flatspot.cli.output import echo_json, echo_text, say
    from flatspot.cli.progress import progress_bar
    from flatspot.core.errors import SettingsError
    from flatspot.recipe.overcome import overcome
    from flatspot.report.overcome_text import demo_text

    for name in ("max_completions", "engine"):
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise SettingsError(f"--{name.replace('_', '-')} is for the demo without --train")
    with progress_bar(silent=as_json) as on_progress:
        results = overcome(out, seed=seed, say=say, on_progress=on_progress)
    if as_json:
        echo_json(results)
    else:
        echo_text(lambda _: demo_text(results, out))
