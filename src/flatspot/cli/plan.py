"""`flatspot plan`: what an RL run on judged prompts would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("plan")
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--group-size", type=click.IntRange(2), metavar="K", help="Completions per prompt in the planned RL run.  [default: the run's]"
)
@click.option("--share", type=float, default=0.5, show_default=True, help="Recommend the group size that makes this share informative.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, metavar="B", help="Informative groups in a training batch.")
@click.option("--gen-batch", type=click.IntRange(1), metavar="G", help="Groups that a dynamic sampler draws at a time.  [default: --batch]")
@click.option("--max-gen-batches", type=click.IntRange(1), default=10, show_default=True, help="How often it may, for one training batch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def plan_command(run: Path, as_json: bool, **settings: Any) -> None:
    """Forecast an RL run from a run folder.

    The share of groups that hold two different rewards at each group size, the size to take, the rollouts that fill a batch with such
    groups, and the chance that a dynamic sampler with a limit gives up.

    \b
    flatspot plan runs/1a2b3c4d
    flatspot plan runs/1a2b3c4d --group-size 16 --batch 64 --gen-batch 192
    """
    import json
    import shutil

    from flatspot.core.plain import plain
    from flatspot.plan.forecast import PlanSettings, plan_groups
    from flatspot.report.plan_text import plan_text

    found = plan_groups(run, PlanSettings(**settings))
    click.echo(
        json.dumps(plain(found), indent=2, allow_nan=False) if as_json else plan_text(found, width=shutil.get_terminal_size().columns)
    )
