"""`flatspot compare`: two judged runs of the same prompts, before and after, one model and another."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("compare")
@click.argument("a", type=click.Path(file_okay=False, path_type=Path), metavar="RUN_A")
@click.argument("b", type=click.Path(file_okay=False, path_type=Path), metavar="RUN_B")
@click.option(
    "--pair-by",
    type=click.Choice(["auto", "id", "text"]),
    default="auto",
    show_default=True,
    help="What makes two rows one prompt. auto: the id where the text is the same too, then the text.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def compare_command(a: Path, b: Path, pair_by: str, as_json: bool) -> None:
    """Compare two judged run folders, prompt by prompt: RUN_A before, RUN_B after.

    The change in mean reward, in reward std and in the share of mixed groups, with 95% limits; the verdicts that changed; the prompts
    that changed most; and what of the runs' settings makes a comparison mislead.

    \b
    flatspot compare runs/before runs/after
    """
    from flatspot.cli.output import echo_json, echo_text
    from flatspot.flow.compare import compare
    from flatspot.report.compare_text import compare_text

    summary = compare(a, b, pair_by=pair_by).summary
    if as_json:
        echo_json(summary)
    else:
        echo_text(lambda width: compare_text(summary, width=width))
