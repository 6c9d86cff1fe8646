"""`flatspot train`: reinforcement finetuning by TRL, watched, judged before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flatspot.cli.options import reward_option, reward_timeout_option

if TYPE_CHECKING:
    from flatspot.training.rl.train import TrainResult


@click.command("train", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("prompts", metavar="PROMPTS")
@click.option("--model", metavar="M", help="Hugging Face name or folder, or GGUF file.  [default: model_name_or_path of --config]")
@reward_option
@reward_timeout_option
@click.option("--algorithm", type=click.Choice(["grpo", "rloo"]), default="grpo", show_default=True, help="Which of TRL's trainers.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="YAML", help="TRL's options by name; flags win over it.")
@click.option(
    "--out", type=click.Path(file_okay=False), required=True, metavar="RUN", help="Run folder; the policy is saved in its trainer/."
)
@click.option("--prompt-col", default="prompt", show_default=True, help="Column of the prompt.")
@click.option("--prompt-template", metavar="TEXT", help="The prompt, made of columns, as 'Question: {question}', instead of --prompt-col.")
@click.option("--limit", type=click.IntRange(1), help="Take only the first prompts of the file.")
@click.pass_context
def train_command(
    ctx: click.Context,
    prompts: str,
    model: str | None,
    rewards: tuple[str, ...],
    reward_timeout: float,
    algorithm: str,
    config: str | None,
    out: str,
    prompt_col: str,
    prompt_template: str | None,
    limit: int | None,
) -> None:
    """Train a policy with TRL's GRPO or RLOO, and see why a gradient is missing while it is.

    PROMPTS and --reward are as in `flatspot diagnose`. Every other option is TRL's own and handed on as it is, with underscores:
    --learning_rate, --num_generations, --reward_weights, --use_peft, --use_vllm, …

    \b
    flatspot train prompts.jsonl --model Qwen/Qwen3-0.6B --reward my_rewards.py:correct --out runs/rl --learning_rate 1e-6 --max_steps 200
    accelerate launch -m flatspot.cli train prompts.jsonl --config grpo.yaml --reward my_rewards.py:correct --out runs/rl
    """
    from flatspot.cli.output import say
    from flatspot.core.errors import SettingsError

    if prompts.startswith("--"):
        raise SettingsError(f"PROMPTS comes first, then the options; the first word was {prompts}")
    from flatspot.training.ranks import leave, rank, together
    from flatspot.training.rl.train import train

    try:
        result = train(
            prompts,
            model,
            list(rewards),
            out=out,
            algorithm=algorithm,
            options=ctx.args,
            config=config,
            prompt_col=prompt_col,
            prompt_template=prompt_template,
            limit=limit,
            reward_timeout_s=reward_timeout,
        )
    except KeyboardInterrupt:
        if rank() == 0:
            then = "--resume_from_checkpoint resumes from a saved checkpoint."
            say(f"\nStopped. `flatspot inspect {out}` judges the completions so far; {then}")
        ctx.exit(130)
    with together():  # a launcher ends all processes as soon as one of them ends badly: nobody leaves before the report is written
        if result.is_main:
            _show(result)
    leave()


def _show(result: TrainResult) -> None:
    """Judge the whole training, its start and its end, and say where the policy is."""
    from flatspot.cli.output import echo_text, say
    from flatspot.core.errors import RunFolderError
    from flatspot.flow.inspect import inspect
    from flatspot.report.before_after import before_after
    from flatspot.training.watch.before_after import split_run

    inspect(result.folder, advantage=result.advantage)
    try:
        halves = split_run(result.folder)
    except RunFolderError as error:  # too short to be compared: the training is done all the same
        note = f"Policy   {result.checkpoint}\nReport   {result.folder / 'report.html'}\nNote     {error}"
        echo_text(lambda _: note)
        return
    before, after = (inspect(folder, advantage=result.advantage) for folder in halves)
    reports = ", ".join(str(folder / "report.html") for folder in (result.folder, before.folder, after.folder))
    table = before_after(before.summary, after.summary, result.alarms)
    echo_text(lambda _: f"{table}\nPolicy   {result.checkpoint}\nReport   {reports}")
    if after.summary.verdict != "proceed":
        say(f"After the training: {after.summary.reason}")
