"""What `flatspot warmup` and `flatspot watch-checkpoints` print. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flatspot.report.formats import count, decimal, noun, percent, percent_range
from flatspot.report.run.next_steps import diagnose_command, plan_command, train_command

if TYPE_CHECKING:
    from flatspot.runs.recipe_summary import CurveRow
    from flatspot.runs.summary import Summary
    from flatspot.runs.warmup_summary import WarmupSummary, WatchSummary

_HEAD = ("step", "pass@K", "vanishing", "reward", "entropy", "held-out loss")


def curve_text(curve: Sequence[CurveRow], checkpoint: int) -> str:
    """The curve as a table, the chosen checkpoint marked.

    >>> share = {"mean": 0.5, "lo": 0.4, "hi": 0.6}
    >>> row = {"step": 10, "ready": share, "vanishing": share, "reward": 0.25, "entropy": 0.1, "heldout_loss": None}
    >>> print(curve_text([row], 10))
     step  pass@K         vanishing      reward  entropy  held-out loss
       10  50% [40–60%]   50% [40–60%]    0.250    0.100              –  chosen
    """
    lines = [f"{_HEAD[0]:>5}  {_HEAD[1]:<14} {_HEAD[2]:<14}{_HEAD[3]:>7}{_HEAD[4]:>9}{_HEAD[5]:>15}"]
    return "\n".join([*lines, *(curve_line(row) + ("  chosen" if row["step"] == checkpoint else "") for row in curve)])


def curve_line(row: CurveRow) -> str:
    """One probe."""
    if row.get("ready") is None:
        return f"{row['step']:>5}  no finite numbers"
    numbers = (_number(row.get("reward"), 7), _number(row.get("entropy"), 9), _number(row.get("heldout_loss"), 15))
    return f"{row['step']:>5}  {_share(row['ready']):<14} {_share(row['vanishing']):<14}{''.join(numbers)}"


def warmed_text(warmup: WarmupSummary, *, width: int = 80) -> str:
    """The whole result of a warm-up."""
    lines = [curve_text(warmup.curve, warmup.chosen_step), ""] if warmup.curve else []
    where = warmup.policy if warmup.chosen_step else f"{warmup.policy}: the policy as it was"
    lines += _wrap("Chosen", f"step {warmup.chosen_step}: {where}" if warmup.curve else warmup.policy, width)
    lines += _wrap("Why", warmup.why, width)
    lines += _wrap("Cost", _cost(warmup), width)
    for note in warmup.notes:
        lines += _wrap("Note", note, width)
    lines += [f"{'' if i else 'Next':<9}{line}" for i, line in enumerate(warmup.next)]
    return "\n".join(lines)


def next_lines(
    summary: Summary,
    *,
    cause: str,
    recovered: bool,
    probed: bool,
    policy: str,
    out: str,
    options: Sequence[str] = (),
) -> list[str]:
    """What to do after a warm-up: the commands that judge its policy and train from it; where it did not help, what to fix first.

    summary  the judged run's; options: TRL's own, for the training
    """
    if probed and not recovered and cause != "nothing-vanishes":
        advice = "Do not start RL from it yet: " + _FIX.get(
            cause, "check the answers and the reward on them, give more labels, or more steps."
        )
        return [advice, plan_command(summary)] if cause == "labels-solved" else [advice]
    return [diagnose_command(summary, model=policy), train_command(summary, policy, out, options)]


_FIX = {
    "labels-solved": "label prompts that vanish.",
    "not-a-number": "lower --learning_rate, or train in float32.",
    "interrupted": "let it run longer.",
}


def watched_text(watched: WatchSummary, *, width: int = 80) -> str:
    """The stop rule over the checkpoints of another trainer."""
    lines = [curve_text(watched.curve, watched.chosen_step), ""]
    lines += _wrap("Chosen", f"step {watched.chosen_step}: {watched.checkpoint or 'the policy as it was'}", width)
    lines += _wrap("Why", watched.why, width)
    if watched.stop:
        lines += _wrap("Do", "stop the training, if it still runs: nothing here can", width)
    return "\n".join(lines)


def _cost(warmup: WarmupSummary) -> str:
    held = f" and {warmup.held_out} held out" if warmup.held_out else ""
    steps = f", {noun(warmup.curve[-1]['step'], 'step')}" if warmup.curve else ""
    probes = f", {count(warmup.generations)} completions to look" if warmup.generations else ""
    return f"{warmup.labels} labels learned{held}{steps}{probes}, {count(round(warmup.seconds))} s"


def _share(share: object) -> str:
    limits = share if isinstance(share, Mapping) else {}
    return f"{percent(limits.get('mean'))} [{percent_range(limits.get('lo'), limits.get('hi'))}]"


def _number(value: object, width: int) -> str:
    return f"{decimal(value, 3):>{width}}"


def _wrap(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), initial_indent=f"{name:<9}", subsequent_indent=" " * 9, break_long_words=False)
