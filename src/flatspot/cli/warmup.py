"""`flatspot warmup`: SFT on a few labels, which stops by itself once RL can take over."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flatspot.cli.options import own_reward_option, own_reward_weight_option, refuse_unread, reward_timeout_option, template_values_option
from flatspot.cli.probe_options import PROBE_OPTIONS, probe_options

if TYPE_CHECKING:
    from flatspot.runs.warmup_summary import WarmupSummary
    from flatspot.training.warmup.run import WarmupResult


@click.command("warmup", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("run", metavar="RUN")
@click.option(
    "--labels",
    required=True,
    metavar="FILE",
    help="Labeled prompts: JSONL, JSON, CSV, TSV or Parquet, as `flatspot plan --labels` writes it.",
)
@click.option("--answer-col", default="answer", show_default=True, help="Column of the answer.")
@click.option("--model", metavar="M", help="Hugging Face name or folder, GGUF file, or LoRA adapter.  [default: the run's]")
@own_reward_option
@own_reward_weight_option
@reward_timeout_option
@template_values_option("needed where RUN comes of a log.  [default: the run's]")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="YAML", help="TRL's options by name; flags win over it.")
@click.option("--out", type=click.Path(file_okay=False), required=True, metavar="WARM", help="Folder of the curve and of the policy.")
@click.option("--allow-foreign", is_flag=True, help="Learn labels of prompts that the run does not have, too.")
@click.option("--no-stop", is_flag=True, help="Plain supervised finetuning: no probes, no stop.")
@probe_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of the training, the probes, and the held-out labels.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.pass_context
def warmup_command(ctx: click.Context, /, run: str, **values: Any) -> None:
    """Finetune a policy on a few labels (SFT), and stop once RL can take over.

    RUN is a judged run folder; its prompts without a label are probed every few steps. Every other option is that of TRL's SFTTrainer (of
    transformers' Seq2SeqTrainer for an encoder–decoder), handed on as it is, with underscores: --max_steps, --learning_rate, --use_peft, …

    \b
    flatspot warmup runs/1a2b3c4d --labels runs/1a2b3c4d/labels.jsonl --out runs/warm --max_steps 200
    flatspot train prompts.jsonl --model runs/warm/policy --reward my_rewards.py:correct --out runs/rl
    """
    from flatspot.cli.output import say
    from flatspot.core.errors import SettingsError
    from flatspot.training.ranks import leave, rank, together

    if run.startswith("--"):
        raise SettingsError(f"RUN comes first, then the options; the first word was {run}")
    if values["no_stop"]:
        refuse_unread(PROBE_OPTIONS, "is for probes, and --no-stop makes none: leave out one of them")
    try:
        outcome = _warm(run, values, ctx.args)
    except KeyboardInterrupt:
        if rank():
            ctx.exit(130)
        policy = f"the checkpoint chosen so far is {values['out']}/policy, and " if (Path(values["out"]) / "warmup.json").exists() else ""
        say(f"\nStopped: {policy}the curve so far is in {values['out']}/curve.json. The same command starts over.")
        ctx.exit(130)
    with together():  # a launcher ends all processes as soon as one of them ends badly: nobody leaves before the result is printed
        if outcome.is_main:
            _show(_summary(outcome, run, values, ctx.args), as_json=values["as_json"])
    leave()


def _show(summary: WarmupSummary, *, as_json: bool) -> None:
    from flatspot.cli.output import echo_json, echo_text
    from flatspot.report.warmup_text import warmed_text

    if as_json:
        echo_json(summary)
    else:
        echo_text(lambda width: warmed_text(summary, width=width))


def _warm(run: str, values: Mapping[str, Any], options: list[str]) -> WarmupResult:
    from flatspot.cli.output import say
    from flatspot.cli.probe_options import probe_settings, stop_rule
    from flatspot.report.warmup_text import curve_line
    from flatspot.training.warmup.run import warmup

    with contextlib.redirect_stdout(sys.stderr):  # where the trainer prints its log
        return warmup(
            values["labels"],
            values["model"],
            list(values["rewards"]) or None,
            run=run,
            out=values["out"],
            answer_col=values["answer_col"],
            rule=None if values["no_stop"] else stop_rule(values),
            probe=probe_settings(values),
            options=[*options, "--seed", str(values["seed"])],
            config=values["config"],
            seed=values["seed"],
            allow_foreign=values["allow_foreign"],
            reward_timeout_s=values["reward_timeout"],
            reward_weights=values["weights"] or None,
            on_probe=lambda row, choice: say(f"{curve_line(row)}   {choice.cause}"),
            template_kwargs=values["chat_template_kwargs"],
        )


def _summary(outcome: WarmupResult, run: str, values: Mapping[str, Any], trl_options: list[str]) -> WarmupSummary:
    from flatspot.report.warmup_text import next_lines
    from flatspot.runs.run import Run
    from flatspot.runs.warmup_summary import WarmupSummary
    from flatspot.training.trl_options import flags_for

    options = flags_for(trl_options, values["config"], ("use_cpu", "bf16", "gradient_checkpointing"))
    following = next_lines(
        Run(Path(run)).summary,
        cause=outcome.cause,
        recovered=outcome.recovered,
        probed=bool(outcome.curve),
        policy=str(outcome.checkpoint),
        out=str(outcome.out / "rl"),
        options=options,
    )
    return WarmupSummary(
        chosen_step=outcome.chosen_step,
        cause=outcome.cause,
        why=outcome.why,
        recovered=outcome.recovered,
        policy=str(outcome.checkpoint),
        labels=outcome.labels,
        held_out=outcome.held_out,
        generations=sum(row["generations"] for row in outcome.curve),
        seconds=outcome.seconds,
        notes=outcome.notes,
        next=tuple(following),
        curve=tuple(outcome.curve),
    )
