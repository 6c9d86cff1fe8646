"""`flatspot reproduce theory`: the bounds and the separation, measured on new models."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("theory")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("flatspot-theory"),
    show_default=True,
    help="Folder of results.json and the figures.",
)
@click.option("--models", type=click.IntRange(1), default=500, show_default=True, help="Number of random policies to enumerate.")
@click.option("--seed", type=click.IntRange(0), help="Of the policies.  [default: a new one, written to results.json]")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the tables.")
def theory_command(out: Path, models: int, seed: int | None, as_json: bool) -> None:
    """Compare every gradient bound with the exact gradient of random policies, and RL's time with SFT's.

    Exits with 1 if a bound is violated.
    """
    from flatspot_paper.theory.run import reproduce_theory
    from flatspot_paper.theory.words import results_text

    results = reproduce_theory(out, models=models, seed=seed)
    click.echo((out / "results.json").read_text("utf-8") if as_json else results_text(results, out))
    if results["violations"]:
        click.get_current_context().exit(1)
