"""`flatspot plan`: what an RL run on judged prompts would see, and which of them to label before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flatspot.cli.option_types import ExtensibleChoice

if TYPE_CHECKING:
    from flatspot.flow.plan import Plan


@click.command("plan")
@click.argument("run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--labels", metavar="N|P%", help="How many prompts to label, or which share of the run's.  [default: as recommended]")
@click.option(
    "--strategy",
    type=ExtensibleChoice("strategies", ("random", "hardest", "cover", "facility-location")),
    help="How they are chosen.  [default: facility-location]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the order of equals, and what random chooses.")
@click.option(
    "--group-size", type=click.IntRange(2), metavar="K", help="Completions per prompt in the planned RL run.  [default: the run's]"
)
@click.option(
    "--share", type=float, default=0.5, show_default=True, help="Recommend the group size at which this share of the groups is mixed."
)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, metavar="B", help="Mixed groups in a training batch.")
@click.option("--gen-batch", type=click.IntRange(1), metavar="G", help="Groups that a dynamic sampler draws at a time.  [default: --batch]")
@click.option("--max-gen-batches", type=click.IntRange(1), default=10, show_default=True, help="How often it may, for one training batch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def plan_command(run: Path, as_json: bool, labels: str | None, strategy: str | None, seed: int, share: float, **settings: Any) -> None:
    """Plan a warm-up and an RL run from a run folder: which prompts to label, train on, drop, or leave until after the warm-up.

    Prints the share of mixed groups (those with two different rewards) at each group size, the recommended size, the rollouts that fill
    a batch with mixed groups, and the probability that a dynamic sampler reaches its limit first; then the vanishing prompts to label, in
    order. Writes RUN/plan.parquet, and RUN/labels.jsonl for the answers: those already written into it are kept.

    \b
    flatspot plan runs/1a2b3c4d
    flatspot plan runs/1a2b3c4d --labels 5% --strategy cover
    flatspot plan runs/1a2b3c4d --group-size 16 --batch 64 --gen-batch 192
    """
    from flatspot.cli.output import echo_json, echo_text, say
    from flatspot.core.errors import RunFolderError
    from flatspot.flow.plan import plan
    from flatspot.planning.labels import DEFAULT_STRATEGY

    planned = plan(run, labels=labels, strategy=strategy or DEFAULT_STRATEGY, seed=seed, share=share, write=False, **settings)
    failure = None
    try:
        planned = planned.write()
    except RunFolderError as error:  # raised once the plan is printed
        failure = error
    if planned.answers:
        say(f"{planned.answers} answers in the existing labels.jsonl are kept")
    if as_json:
        echo_json(planned.summary)
    else:
        echo_text(lambda width: _text(planned, width, written=failure is None))
    if failure is not None:
        raise failure


def _text(planned: Plan, width: int, *, written: bool) -> str:
    """The forecast, the labels, and what to do with the files where they were written."""
    from flatspot.report.labels_text import labels_text
    from flatspot.report.plan_text import plan_text
    from flatspot.report.prompt_line import asked_last
    from flatspot.report.run.next_steps import warmup_command
    from flatspot.rollouts.store import prompt_text

    parts = [plan_text(planned.summary, width=width)]
    if planned.summary.labels is not None:
        texts = {x.prompt.id: asked_last(prompt_text(x.prompt.text)) if x.prompt.is_chat else str(x.prompt.text) for x in planned.labels}
        files = (str(planned.run.folder / "plan.parquet"), str(planned.labels_file)) if written else None
        parts.append(labels_text(planned.summary.labels, texts, files, warmup_command(planned.run.summary), width=width))
    return "\n\n".join(parts)
