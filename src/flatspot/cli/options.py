"""Options that several verbs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from flatspot.cli.option_types import ExtensibleChoice, JsonObjectText, RewardText
from flatspot.cli.renamed import renamed_option
from flatspot.core.settings import ADVANTAGES
from flatspot.engines.registry import ENGINES

F = TypeVar("F", bound=Callable[..., Any])


def _a_number(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # which lies outside no range
        raise click.BadParameter("nan is no number", ctx, option)
    return value


def refuse_unread(names: Sequence[str], why: str) -> None:
    """Raise `SettingsError` where one of these options was given on the command line though nothing would read it."""
    from flatspot.core.errors import SettingsError

    ctx = click.get_current_context()
    for name in names:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise SettingsError(f"--{name.replace('_', '-')} {why}")


reward_option = click.option(
    "--reward",
    "rewards",
    required=True,
    multiple=True,
    type=RewardText(),
    metavar="R",
    help="file.py:function, module:function, a built-in name, or http://… of a server; repeat for several.",
)
own_reward_option = click.option(
    "--reward",
    "rewards",
    multiple=True,
    type=RewardText(),
    metavar="R",
    help="file.py:function, module:function, a built-in name, or http://… of a server; repeat for several.  [default: the run's]",
)
reward_timeout_option = click.option(
    "--reward-timeout", type=float, default=10.0, show_default=True, help="Seconds a reward may take for a completion."
)

answer_option = click.option(
    "--answer-col",
    metavar="C",
    help="Column of real answers: what they earn is what a prompt can be expected to earn.  [default: not known]",
)

reward_weight_option = click.option(
    "--reward-weight", "weights", multiple=True, type=float, metavar="W", help="Weight of each --reward, in order.  [default: 1]"
)
own_reward_weight_option = click.option(
    "--reward-weight", "weights", multiple=True, type=float, metavar="W", help="Weight of each --reward, in order.  [default: the run's]"
)


def reward_options(command: F) -> F:
    """What scores a completion."""
    for option in reversed(
        [
            reward_option,
            reward_weight_option,
            reward_timeout_option,
            answer_option,
        ]
    ):
        command = option(command)
    return command


def judging_options(command: F) -> F:
    """How rows are judged, and where the result goes."""
    for option in reversed(
        [
            click.option(
                "--reward-range",
                type=float,
                nargs=2,
                metavar="LO HI",
                help="Smallest and largest reward possible.  [default: the reward's own, else what is seen]",
            ),
            click.option(
                "--group-size", type=click.IntRange(2), default=8, show_default=True, help="Completions per prompt in the planned RL run."
            ),
            click.option(
                "--target-error", type=float, default=0.03, show_default=True, help="Share of wrong verdicts to accept among the decided."
            ),
            renamed_option(
                "--worst-case",
                before="--sure",
                is_flag=True,
                help="Hold the worst-case error to that, not the mean error; diagnose samples more for it.",
            ),
            click.option(
                "--advantage",
                type=click.Choice(ADVANTAGES),
                help="How the planned run uses rewards: less a baseline (PPO, RLOO, Dr. GRPO), or divided by the group's std as well "
                "(GRPO in TRL and verl), which blows a small spread up again.  [default: centered]",
            ),
            click.option(
                "--top-reachable",
                is_flag=True,
                help="Every prompt can earn the top of the range: a verifier with partial credit.  [default: as the reward says]",
            ),
            click.option(
                "--deterministic-reward",
                is_flag=True,
                help="The same completion always earns the same: verdicts may be proved by probabilities, and equal ones are scored once.",
            ),
            click.option(
                "--cluster-col",
                metavar="C",
                help="Column of each prompt's task: limits of shares and forecast are for prompts of other tasks; none: of the same.  "
                "[default: task, where prompts name five or more]",
            ),
            click.option("--out", type=click.Path(file_okay=False), metavar="RUN", help="Run folder.  [default: runs/<content hash>]"),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report."),
            click.option(
                "--fail-above",
                type=click.FloatRange(0, 1),
                metavar="F",
                callback=_a_number,
                help="Exit with 3 if more than this share of the prompts vanish, or if that is undecided.",
            ),
        ]
    ):
        command = option(command)
    return command


def sampling_options(command: F) -> F:
    """How completions are drawn."""
    for option in reversed(
        [
            renamed_option(
                "--max-completions",
                before="--max-samples",
                type=click.IntRange(1),
                default=64,
                show_default=True,
                help="Completions per prompt, at most.",
            ),
            renamed_option(
                "--fixed-completions",
                before="--fixed-samples",
                is_flag=True,
                help="Sample --max-completions of every prompt, whatever the rewards are.",
            ),
            click.option(
                "--max-generations", type=click.IntRange(1), metavar="N", help="Completions in all.  [default: as many as it takes]"
            ),
            click.option(
                "--round-size",
                type=click.IntRange(1),
                metavar="N",
                help="Completions per prompt and round.  [default: enough to keep the engine busy]",
            ),
            click.option("--temperature", type=float, default=1.0, show_default=True, help="Divides the logits; use the RL run's."),
            click.option(
                "--top-p", type=float, default=1.0, show_default=True, help="Keep the most probable tokens of this total mass; 1 keeps all."
            ),
            click.option("--top-k", type=int, default=0, show_default=True, help="Keep this many tokens; 0 keeps all."),
            click.option(
                "--max-new-tokens",
                type=click.IntRange(1),
                default=256,
                show_default=True,
                help="Completions are cut after this many tokens.",
            ),
            click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds give equal completions."),
        ]
    ):
        command = option(command)
    return command


def elsewhere_options(command: F) -> F:
    """Where completions are drawn, if not by this process alone: servers, GPUs, workers."""
    for option in reversed(
        [
            click.option(
                "--base-url",
                multiple=True,
                metavar="URL",
                help="OpenAI-compatible server, as http://localhost:8000/v1; repeat for several. Or a file with one a line, which is read "
                "again while sampling.",
            ),
            click.option(
                "--served-name",
                metavar="NAME",
                help="Their name of the model, where --model is its folder.  [default: theirs]",
            ),
            click.option(
                "--concurrency", type=click.IntRange(1), default=64, show_default=True, help="Requests in flight for each server."
            ),
            click.option(
                "--tensor-parallel",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                metavar="N",
                help="GPUs over which --engine vllm spreads the model.",
            ),
            click.option(
                "--worker-engine",
                default="auto",
                show_default=True,
                metavar="ENGINE",
                help="What each worker of --engine ray samples with.",
            ),
            click.option("--workers", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="How many of them."),
            click.option("--ray-address", metavar="ADDRESS", help="Their cluster.  [default: RAY_ADDRESS, else this machine]"),
        ]
    ):
        command = option(command)
    return command


def template_values_option(then: str) -> Callable[[F], F]:
    """--chat-template-kwargs; `then` ends its help."""
    return click.option(
        "--chat-template-kwargs",
        type=JsonObjectText(),
        metavar="JSON",
        help=f"Values for the policy's chat template, as '{{\"enable_thinking\": false}}'; {then}",
    )


def engine_options(command: F) -> F:
    """What draws the completions."""
    for option in reversed(
        [
            click.option(
                "--engine",
                type=ExtensibleChoice("engines", ENGINES),
                default="auto",
                show_default=True,
                help="auto: openai with a --base-url; else openvino on a CPU where it supports the model; else hf.",
            ),
            template_values_option("part of the run."),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
                default="auto",
                show_default=True,
                help="auto: float32 on a CPU, bfloat16 on a GPU.",
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …"),
            click.option(
                "--memory-gib", type=float, metavar="GIB", help="Bound on the memory for sampling.  [default: half of what is free]"
            ),
        ]
    ):
        command = option(command)
    return command
