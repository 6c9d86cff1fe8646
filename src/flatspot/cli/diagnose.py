"""`flatspot diagnose`: a model, prompts and a reward in, a verdict out."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from flatspot.cli.options import elsewhere_options, engine_options, judging_options, refuse_unread, reward_options, sampling_options
from flatspot.cli.renamed import renamed_option


@click.command("diagnose")
@click.argument("prompts", metavar="PROMPTS")
@click.option("--model", required=True, metavar="M", help="Hugging Face name or folder, GGUF file, or answers.json for --engine scripted.")
@reward_options
@judging_options
@sampling_options
@engine_options
@elsewhere_options
@click.option(
    "--gradients", is_flag=True, help="Also measure gradient norms, on fresh completions: slower, and needs the policy's weights."
)
@renamed_option(
    "--gradient-completions",
    before="--gradient-samples",
    type=click.IntRange(4),
    default=16,
    show_default=True,
    help="Completions per prompt for --gradients.",
)
@click.option("--prompt-col", default="prompt", show_default=True, help="Column of the prompt.")
@click.option("--prompt-template", metavar="TEXT", help="The prompt, made of columns, as 'Question: {question}', instead of --prompt-col.")
@click.option("--id-col", default="id", show_default=True, help="Column of the prompt's id, where there is one.")
@click.option("--limit", type=click.IntRange(1), help="Take only the first prompts of the file.")
def diagnose_command(
    prompts: str,
    model: str,
    rewards: tuple[str, ...],
    weights: tuple[float, ...],
    reward_timeout: float,
    as_json: bool,
    fail_above: float | None,
    **settings: Any,
) -> None:
    """Find the prompts an RL run cannot learn from.

    PROMPTS is a JSONL, JSON, CSV, TSV or Parquet file with a column `prompt` (text or chat messages), or reasoning-gym:TASK[key=value,…].
    Stop it at any time: the same command resumes.

    \b
    flatspot diagnose prompts.jsonl --model Qwen/Qwen3-0.6B --reward my_rewards.py:correct
    flatspot diagnose 'reasoning-gym:letter_counting[size=50]' --model smollm2-135m-instruct --reward reasoning_gym
    """
    from flatspot.cli.output import say, show
    from flatspot.cli.progress import progress_bar
    from flatspot.flow.diagnose import diagnose

    if not settings["gradients"]:
        refuse_unread(["gradient_completions"], "is for --gradients: add it")
    settings["reward_range"] = settings["reward_range"] or None
    with progress_bar(silent=as_json) as on_progress, contextlib.redirect_stdout(sys.stderr):  # Ray's lines on nodes that are gone
        diagnosis = diagnose(
            prompts,
            model,
            list(rewards),
            on_progress=on_progress,
            say=say,
            reward_weights=weights or None,
            reward_timeout_s=reward_timeout,
            **settings,
        )
    show(diagnosis, as_json=as_json, fail_above=fail_above)
