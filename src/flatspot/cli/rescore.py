"""`flatspot rescore`: another reward on the completions of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flatspot.cli.options import judging_options, reward_options


@click.command("rescore")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN")
@reward_options
@judging_options
def rescore_command(
    run: Path,
    rewards: tuple[str, ...],
    weights: tuple[float, ...],
    reward_timeout: float,
    as_json: bool,
    fail_above: float | None,
    **settings: Any,
) -> None:
    """Score the completions of a run with another reward.

    RUN is a run folder; it stays as it is, the new rewards and verdicts go to a folder of their own. Nothing is sampled. Stop it
    at any time: the same command resumes.

    \b
    flatspot rescore runs/1a2b3c4d --reward my_rewards.py:fixed
    """
    from flatspot.cli.output import say, show
    from flatspot.cli.progress import progress_bar
    from flatspot.flow.rescore import rescore

    settings["reward_range"] = settings["reward_range"] or None
    with progress_bar(silent=as_json) as on_progress:
        diagnosis = rescore(
            run,
            list(rewards),
            on_progress=on_progress,
            say=say,
            reward_weights=weights or None,
            reward_timeout_s=reward_timeout,
            **settings,
        )
    show(diagnosis, as_json=as_json, fail_above=fail_above)
