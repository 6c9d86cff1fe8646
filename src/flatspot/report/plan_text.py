"""What `flatspot plan` prints. No numbers are computed here."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from flatspot.report.formats import MISSING, count, decimal, fine_percent, percent, percent_range, wrap_labeled

if TYPE_CHECKING:
    from flatspot.planning.summary import BatchCost, Interval, PlanSummary, SizeAdvice, SizeForecast


def plan_text(plan: PlanSummary, *, width: int = 80) -> str:
    """The forecast as lines of at most `width` columns.

    >>> from flatspot.planning.summary import SizeForecast
    >>> print(_row("8", SizeForecast(0.4, 0.3, 0.5, 20.0)))
      8     40% [30–50%]          20
    """
    lines = [
        f"Forecast from {count(plan.n_prompts)} prompts, {decimal(plan.completions_per_prompt, 1)} completions each "
        f"({plan.reward_model} rewards)",
        "",
        "group   mixed         rollouts per",
        "size    groups        mixed group",
        *(_row(size, row) for size, row in plan.forecast.items()),
        "",
        *wrap_labeled("Size", _recommended(plan.recommended), width),
        *wrap_labeled("Batch", _batch(plan.batch, plan.group_size), width),
        *wrap_labeled("Stall", _stall(plan.batch), width),
    ]
    if plan.caveats:
        lines += [
            "",
            "Caveats",
            *(line for text in plan.caveats for line in textwrap.wrap(text, width, initial_indent="  - ", subsequent_indent="    ")),
        ]
    return "\n".join(lines)


def _row(size: str, row: SizeForecast) -> str:
    per = row.rollouts_per_informative
    share = f"{percent(row.informative)} [{percent_range(row.lo, row.hi)}]"
    return f"{size:>3}     {share:<14}{count(per) if per is not None else 'none':>10}"


def _recommended(advice: SizeAdvice) -> str:
    share, limits = percent(advice.informative), percent_range(advice.lo, advice.hi)
    tokens = f", about {count(advice.tokens)} tokens" if advice.tokens is not None else ""
    cost = f"One pass over the prompts: {count(advice.completions)} completions{tokens}."
    if not advice.reached:
        size, goal = advice.group_size, percent(advice.share)
        return f"no size up to {size} gives {goal} mixed groups; it gives {share} [{limits}]. {cost}"
    return f"{advice.group_size} is the smallest with at least {percent(advice.share)} mixed groups: {share} [{limits}]. {cost}"


def _batch(batch: BatchCost, size: int) -> str:
    need = f"{count(batch.informative_groups)} mixed groups of {size} take"
    if batch.groups.mean is None:
        return f"{need} infinitely many: no group is expected to be mixed."
    tokens = f", about {count(batch.tokens)} tokens" if batch.tokens is not None else ""
    return f"{need} {_interval(batch.groups)} groups, {_interval(batch.rollouts)} rollouts{tokens}."


def _interval(number: Interval) -> str:
    high = count(number.hi) if number.hi is not None else "∞"
    return f"{count(number.mean)} [{count(number.lo)}–{high}]"


def _stall(batch: BatchCost) -> str:
    chance = batch.stall
    text = MISSING if chance is None else "under 0.1%" if chance < 0.001 else fine_percent(chance)
    return (
        f"a dynamic sampler with {count(batch.gen_batch)} groups at a time and at most {count(batch.max_gen_batches)} rounds fails to "
        f"fill the batch with a probability of {text}."
    )
