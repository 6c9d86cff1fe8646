"""`flatspot watch-checkpoints`: the warm-up's stop rule over the checkpoints of any trainer."""

from __future__ import annotations

from typing import Any

import click

from flatspot.cli.options import own_reward_option, own_reward_weight_option, reward_timeout_option, template_values_option
from flatspot.cli.probe_options import probe_options


@click.command("watch-checkpoints")
@click.argument("folder", metavar="DIR")
@click.option("--run", required=True, metavar="RUN", help="Judged run folder whose prompts are probed.")
@click.option("--model", metavar="M", help="The policy that the training started from.  [default: the run's]")
@own_reward_option
@own_reward_weight_option
@reward_timeout_option
@template_values_option("needed where RUN comes of a log.  [default: the run's]")
@click.option("--labels", metavar="FILE", help="The labeled prompts, which are then not probed.")
@click.option("--answer-col", help="Column of the answer in --labels.  [default: answer]")
@click.option("--out", type=click.Path(file_okay=False), metavar="OUT", help="Folder of the curve.  [default: DIR/flatspot]")
@click.option("--once", is_flag=True, help="Look at the checkpoints that are there, and end.")
@click.option("--max-steps", type=click.IntRange(1), metavar="N", help="How long the training will be, which sets the price of a step.")
@probe_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of the probes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def watch_checkpoints_command(folder: str, as_json: bool, **values: Any) -> None:
    """Probe checkpoint-N folders of a supervised training as they appear, and report when RL can start.

    For trainers without callbacks. Whole models and LoRA adapters; stop it at any time: the same command resumes. It ends when the
    stop rule fires, and does not stop the trainer.

    \b
    flatspot watch-checkpoints outputs/sft --run runs/1a2b3c4d
    flatspot watch-checkpoints outputs/sft --run runs/1a2b3c4d --once --json
    """
    from dataclasses import replace
    from pathlib import Path

    from flatspot.cli.output import echo_json, echo_text, say
    from flatspot.cli.probe_options import probe_settings, stop_rule
    from flatspot.report.warmup_text import curve_line, watched_text
    from flatspot.runs.run import Run
    from flatspot.runs.warmup_summary import WatchSummary
    from flatspot.training.named import named_by_run
    from flatspot.training.warmup.watch_checkpoints import watch_checkpoints

    rewards, weights = list(values["rewards"]) or None, values["weights"] or None
    model, reward, weights = named_by_run(Run(Path(values["run"])), values["model"], rewards, weights)
    outcome = watch_checkpoints(
        folder,
        model,
        reward,
        run=values["run"],
        out=values["out"],
        labels=values["labels"],
        answer_col=values["answer_col"],
        rule=replace(stop_rule(values), max_steps=values["max_steps"]),
        probe=probe_settings(values),
        once=values["once"],
        reward_timeout_s=values["reward_timeout"],
        reward_weights=weights,
        on_probe=lambda row, choice: say(f"{curve_line(row)}   {choice.cause}"),
        template_kwargs=values["chat_template_kwargs"],
    )
    choice, checkpoint = outcome.choice, str(outcome.checkpoint) if outcome.checkpoint else None
    summary = WatchSummary(choice.stop, choice.step, choice.why, choice.cause, choice.recovered, checkpoint, tuple(outcome.curve))
    if as_json:
        echo_json(summary)
    else:
        echo_text(lambda width: watched_text(summary, width=width))
