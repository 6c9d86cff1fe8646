"""`flatspot export`: the prompts of a run by verdict, as a file another tool reads."""

from __future__ import annotations

from pathlib import Path

import click

from flatspot.report.blocks import VERDICTS


@click.command("export")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice([verdict.name for verdict in VERDICTS]),
    help="Only these; repeat for several.  [default: all]",
)
@click.option("--completions", is_flag=True, help="A row per completion with its reward, instead of a row per prompt.")
@click.option(
    "--for",
    "trainer",
    type=click.Choice(["trl", "verl", "prime-rl"]),
    help="Rows as this trainer's data sets have them, with a column weight for a sampler.",
)
@click.option(
    "--to",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="FILE.jsonl, FILE.csv or FILE.parquet.",
)
def export_command(run: Path, verdicts: tuple[str, ...], completions: bool, trainer: str | None, path: Path) -> None:
    """Write the prompts of a run to a file.

    Rows carry `id` and `prompt` as they were judged, the prompt file's own columns, and verdict, mean, std and p_mixed of the run as
    columns `flatspot_…`. Another column of the file called `id` or `prompt` becomes `id_original` or `prompt_original`. With
    --completions, rows carry the prompt's columns that hold its answer: reference, answer, solution, …

    With --for, rows are those of a trainer's data set: prompt and further columns for TRL, data_source, prompt, ability, reward_model and
    extra_info for verl, prompt and answer for prime-rl. Their weight is the probability that a group of --group-size is mixed.

    \b
    flatspot export runs/1a2b3c4d --verdict vanishing --to to-label.jsonl
    flatspot export runs/1a2b3c4d --verdict learnable --verdict undecided --to train.jsonl
    flatspot export runs/1a2b3c4d --verdict learnable --for verl --to train.parquet
    """
    from flatspot.cli.output import say
    from flatspot.flow.export import export

    n = export(run, path, verdicts=verdicts, completions=completions, trainer=trainer, say=say)
    say(f"{n} {'completion' if completions else 'prompt'}{'' if n == 1 else 's'} → {path}")
