"""What `flatspot warmup` and `flatspot watch-checkpoints` print. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from flatspot.report.formats import MISSING, count, decimal, noun, percent, percent_range
from flatspot.report.run.next_steps import diagnose_command, plan_command, train_command

_HEAD = ("step", "pass@K", "vanishing", "reward", "entropy", "held-out loss")


def curve_text(curve: Sequence[Mapping[str, Any]], chosen: int) -> str:
    """The curve as a table, the chosen checkpoint marked.

    >>> share = {"mean": 0.5, "lo": 0.4, "hi": 0.6}
    >>> row = {"step": 10, "ready": share, "vanishing": share, "reward": 0.25, "entropy": 0.1, "heldout_loss": None}
    >>> print(curve_text([row], 10))
     step  pass@K         vanishing      reward  entropy  held-out loss
       10  50% [40–60%]   50% [40–60%]    0.250    0.100              –  chosen
    """
    lines = [f"{_HEAD[0]:>5}  {_HEAD[1]:<14} {_HEAD[2]:<14}{_HEAD[3]:>7}{_HEAD[4]:>9}{_HEAD[5]:>15}"]
    return "\n".join([*lines, *(curve_line(row) + ("  chosen" if row["step"] == chosen else "") for row in curve)])


def curve_line(row: Mapping[str, Any]) -> str:
    """One probe."""
    if row.get("ready") is None:
        return f"{row['step']:>5}  no finite numbers"
    numbers = (_number(row.get("reward"), 7), _number(row.get("entropy"), 9), _number(row.get("heldout_loss"), 15))
    return f"{row['step']:>5}  {_share(row['ready']):<14} {_share(row['vanishing']):<14}{''.join(numbers)}"


def warmed_text(said: Mapping[str, Any], *, width: int = 80) -> str:
    """The whole result of a warm-up: `said` is the object of --json."""
    lines = [curve_text(said["curve"], said["chosen_step"]), ""] if said["curve"] else []
    where = said["policy"] if said["chosen_step"] else f"{said['policy']}: the policy as it was"
    at = f"step {said['chosen_step']}: {where}" if said["curve"] else str(said["policy"])
    lines += _wrap("Chosen", at, width)
    lines += _wrap("Why", said["why"], width)
    lines += _wrap("Cost", _cost(said), width)
    for note in said["notes"]:
        lines += _wrap("Note", note, width)
    lines += [f"{'Next':<9}{line}" if i == 0 else f"{'':<9}{line}" for i, line in enumerate(said["next"])]
    return "\n".join(lines)


def next_lines(
    summary: Mapping[str, Any],
    *,
    cause: str,
    recovered: bool,
    probed: bool,
    policy: str,
    out: str,
    options: Sequence[str] = (),
) -> list[str]:
    """What to do after a warm-up: the commands that judge its policy and train from it; where it did not help, what to mend first.

    summary  the judged run's; options: TRL's own, for the training
    """
    if probed and not recovered and cause != "nothing-vanishes":
        mend = "Do not start RL from it yet: " + _MEND.get(
            cause, "check the answers and the reward on them, give more labels, or more steps."
        )
        return [mend, plan_command(summary)] if cause == "labels-solved" else [mend]
    return [diagnose_command(summary, model=policy), train_command(summary, policy, out, options)]


_MEND = {
    "labels-solved": "label prompts that vanish.",
    "not-a-number": "lower --learning_rate, or train in float32.",
    "interrupted": "let it run longer.",
}


def watched_text(said: Mapping[str, Any], *, width: int = 80) -> str:
    """What the checkpoints of another trainer say: `said` is the object of --json."""
    lines = [curve_text(said["curve"], said["chosen_step"]), ""]
    lines += _wrap("Chosen", f"step {said['chosen_step']}: {said['checkpoint'] or 'the policy as it was'}", width)
    lines += _wrap("Why", said["why"], width)
    if said["stop"]:
        lines += _wrap("Do", "stop the training, if it still runs: nothing here can", width)
    return "\n".join(lines)


def _cost(said: Mapping[str, Any]) -> str:
    held = f" and {said['held_back']} held out" if said["held_back"] else ""
    last = said["curve"][-1]["step"] if said["curve"] else None
    steps = f", {noun(last, 'step')}" if last is not None else ""
    looked = f", {count(said['generations'])} completions to look" if said["generations"] else ""
    return f"{said['labels']} labels learnt{held}{steps}{looked}, {count(round(said['seconds']))} s"


def _share(found: Mapping[str, Any]) -> str:
    return f"{percent(found['mean'])} [{percent_range(found['lo'], found['hi'])}]"


def _number(value: float | None, width: int) -> str:
    return f"{MISSING if value is None else decimal(value, 3):>{width}}"


def _wrap(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), initial_indent=f"{name:<9}", subsequent_indent=" " * 9, break_long_words=False)
