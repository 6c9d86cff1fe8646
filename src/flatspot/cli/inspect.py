"""`flatspot inspect`: the same verdicts from another trainer's logs."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from flatspot.cli.option_types import ExtensibleChoice
from flatspot.cli.options import judging_options
from flatspot.core.log_formats import LOG_FORMATS


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--format",
    "log_format",
    type=ExtensibleChoice("importers", LOG_FORMATS),
    default="auto",
    show_default=True,
    help="auto is what the files show, and also takes a run folder of flatspot; generic reads columns by their names.",
)
@click.option("--allow-pickle", is_flag=True, help="Also read logs that are pickles (slime). Nothing but plain values is loaded.")
@click.option("--prompt-col", metavar="C", help="Column of the prompt.  [default: recognized]")
@click.option(
    "--reward-col",
    "reward_cols",
    multiple=True,
    metavar="C",
    help="Column of the reward: a number, or a list of them; repeat to add several up.  [default: recognized]",
)
@click.option(
    "--reward-weight", "weights", multiple=True, type=float, metavar="W", help="Weight of each --reward-col, in order.  [default: 1]"
)
@click.option(
    "--reward-list",
    type=click.Choice(["completions", "tokens"]),
    help="What a list of rewards holds: one for each completion of a prompt, or for each token of one.  [default: from the rows]",
)
@click.option("--id-col", metavar="C", help="Column of the prompt's id.  [default: recognized]")
@click.option("--completion-col", metavar="C", help="Column of the completion.  [default: recognized]")
@click.option(
    "--turn-col", metavar="C", help="Column that counts the turns of an episode; none: each row is a completion.  [default: recognized]"
)
@click.option("--episode-col", metavar="C", help="Column of the episode that a turn belongs to.  [default: recognized]")
@click.option("--steps", metavar="A:B", help="Judge the rows of these steps of a training: 100:200, 100: or :200.  [default: all]")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Judge the rows of the last N steps.")
@click.option("--split", metavar="S", help="Judge the rows of this split, such as eval.  [default: the training's, where there is one]")
@click.option("--follow", "follows", is_flag=True, help="Judge the log again whenever it has grown, until Ctrl-C.")
@click.option("--every", type=click.FloatRange(0.1), default=10.0, show_default=True, metavar="SECONDS", help="How often --follow looks.")
@judging_options
def inspect_command(
    paths: tuple[str, ...],
    log_format: str,
    allow_pickle: bool,
    prompt_col: str | None,
    reward_cols: tuple[str, ...],
    weights: tuple[float, ...],
    reward_list: str | None,
    id_col: str | None,
    completion_col: str | None,
    turn_col: str | None,
    episode_col: str | None,
    steps: str | None,
    last: int | None,
    split: str | None,
    follows: bool,
    every: float,
    as_json: bool,
    fail_above: float | None,
    **settings: Any,
) -> None:
    """Judge the rollouts of another trainer's logs.

    PATH is a file or a folder that a trainer or an evaluation wrote: TRL, W&B tables, verl, prime-rl, verifiers, NeMo-RL, open-instruct,
    ms-swift, AReaL, ROLL, SkyRL, slime, lm-eval, inspect_ai, open-r1. Or CSV, TSV, JSONL, JSON or Parquet in general: long (a row per
    completion: prompt_id or prompt, reward), wide (a row per prompt: prompt, rewards: [0, 1, …]) or in columns (a row per batch: prompts,
    rewards, each a list).

    \b
    flatspot inspect outputs/completions
    flatspot inspect rollouts.parquet
    flatspot inspect logs/*.jsonl --prompt-col input --reward-col score
    flatspot inspect outputs/completions --last 50
    flatspot inspect outputs/completions --follow
    """
    from flatspot.cli.follow import show_following
    from flatspot.cli.output import say, show
    from flatspot.flow.follow import follow
    from flatspot.flow.inspect import inspect

    settings["reward_range"] = settings["reward_range"] or None
    reward = reward_cols[0] if len(reward_cols) == 1 else list(reward_cols) or None
    columns = {"prompt": prompt_col, "reward": reward, "prompt_id": id_col, "completion": completion_col}
    columns |= {ours: name for ours, name in (("turn", turn_col), ("episode", episode_col)) if name is not None}
    settings["reward_weights"] = weights or None
    context = click.get_current_context()  # what is left out is the run's own where a run folder is judged again
    given = {name: value for name, value in settings.items() if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    given |= {"columns": columns, "reward_list": reward_list, "format": log_format, "allow_pickle": allow_pickle}
    given |= {"steps": steps, "last": last, "split": split, "say": say}
    if follows:
        show_following(follow(list(paths), every=every, **given), every=every, as_json=as_json, fail_above=fail_above)
    else:
        show(inspect(list(paths), **given), as_json=as_json, fail_above=fail_above)
