"""What `flatspot plan` prints. No numbers are computed here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from flatspot.report.formats import MISSING, count, decimal, fine_percent, percent, percent_range


def plan_text(found: Mapping[str, Any], *, width: int = 80) -> str:
    """The forecast as lines of at most `width` columns.

    >>> row = {"informative": 0.4, "lo": 0.3, "hi": 0.5, "rollouts_per_informative": 20.0}
    >>> print(_row("8", row))
      8     40% [30–50%]          20
    """
    lines = [
        f"Forecast from {count(found['n_prompts'])} prompts, {decimal(found['completions_per_prompt'], 1)} completions each "
        f"({found['reward_model']} rewards)",
        "",
        "group   informative   rollouts per",
        "size    groups        informative one",
        *(_row(size, row) for size, row in found["forecast"].items()),
        "",
        *_wrap("Size", _recommended(found["recommended"]), width),
        *_wrap("Batch", _batch(found["batch"], int(found["group_size"])), width),
        *_wrap("Stall", _stall(found["batch"]), width),
    ]
    if found["caveats"]:
        lines += [
            "",
            "Caveats",
            *(line for text in found["caveats"] for line in textwrap.wrap(text, width, initial_indent="  - ", subsequent_indent="    ")),
        ]
    return "\n".join(lines)


def _row(size: str, row: Mapping[str, Any]) -> str:
    per = row["rollouts_per_informative"]
    share = f"{percent(row['informative'])} [{percent_range(row['lo'], row['hi'])}]"
    return f"{size:>3}     {share:<14}{count(per) if per is not None else 'none comes':>10}"


def _recommended(found: Mapping[str, Any]) -> str:
    share, limits = percent(found["informative"]), percent_range(found["lo"], found["hi"])
    tokens = f", about {count(found['tokens'])} tokens" if found["tokens"] is not None else ""
    cost = f"One pass over the prompts: {count(found['completions'])} completions{tokens}."
    if not found["reached"]:
        size, wanted = found["group_size"], percent(found["share"])
        return f"no size up to {size} makes {wanted} of the groups informative; it has {share} [{limits}]. {cost}"
    return f"{found['group_size']} is the smallest with at least {percent(found['share'])} informative groups: {share} [{limits}]. {cost}"


def _batch(found: Mapping[str, Any], size: int) -> str:
    need = f"{count(found['informative_groups'])} informative groups of {size} take"
    if found["groups"]["mean"] is None:
        return f"{need} for ever: no group is expected to be informative."
    tokens = f", about {count(found['tokens'])} tokens" if found["tokens"] is not None else ""
    return f"{need} {_counted(found['groups'])} groups, {_counted(found['rollouts'])} rollouts{tokens}."


def _counted(found: Mapping[str, Any]) -> str:
    high = count(found["hi"]) if found["hi"] is not None else "∞"
    return f"{count(found['mean'])} [{count(found['lo'])}–{high}]"


def _stall(found: Mapping[str, Any]) -> str:
    chance = found["stall"]
    said = MISSING if chance is None else "under 0.1%" if chance < 0.001 else fine_percent(chance)
    return (
        f"a sampler that draws {count(found['gen_batch'])} groups at a time, at most {count(found['max_gen_batches'])} times, fails to "
        f"fill the batch with a chance of {said}."
    )


def _wrap(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=f"{label:<8}", subsequent_indent=" " * 8, break_on_hyphens=False)
