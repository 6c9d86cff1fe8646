"""Plans and results as text for a terminal. Computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flatspot_paper.grue.numbers import Estimate

if TYPE_CHECKING:
    from flatspot_paper.grue.plan import TaskPlan
    from flatspot_paper.grue.stages import Comparison
    from flatspot_paper.grue.stats import Results


def results_text(results: Results) -> str:
    """The table of means, percentiles and shares, then what is not the paper's setting."""
    heading = f"{'':<16}{'reward':<20}{'std':<20}{'10th percentile':<24}{'std < 0.02':<18}std < 0.05"
    lines = [f"GRUE, {results['scale']} scale, before any finetuning: means over inputs, 95% intervals in brackets", "", heading]
    for task in results["tasks"]:
        numbers = task["numbers"]
        shares = [_percent(numbers["shares"][limit]) for limit in ("0.02", "0.05")]
        cells = (_cell(numbers["mean"]), _cell(numbers["std"]), _cell(numbers["percentiles"]["p10"]))
        lines.append(f"{task['plan']['title']:<16}{cells[0]:<20}{cells[1]:<20}{cells[2]:<24}{shares[0]:<18}{shares[1]}")
    lines += ["", *_departures([(str(task["plan"]["title"]), list(task["plan"]["departures"])) for task in results["tasks"]])]  # type: ignore[arg-type]
    for task in results["tasks"]:
        if task["numbers"]["unscored_completions"]:
            lines.append(f"{task['plan']['title']}: {task['numbers']['unscored_completions']} completions have no reward and are left out")
    return "\n".join(lines).rstrip()


def finetuned_text(results: Comparison) -> str:
    """A table of the arms of each task and seed, and what holds across tasks."""
    heading = f"{'':<18}{'arm':<16}{'reward':<22}{'change':<24}{'correlation of std with change':<34}apart"
    lines = [f"GRUE, {results['scale']} scale, after finetuning: means over inputs, 95% intervals in brackets", "", heading]
    for one in results["tasks"]:
        told = one["comparison"]
        lines.append(f"{one['title']:<18}{'before':<16}{_cell(told['before']):<22}{'':<24}{_maybe(told['untrained']):<34}(no training)")
        for arm, own in told["arms"].items():
            cells = (
                f"{_cell(own['reward']):<22}{_cell(own['change']):<24}{_maybe(own['correlation']):<34}{_maybe(own['correlation_apart'])}"
            )
            lines.append(f"{'':<18}{arm:<16}{cells}")
        for algorithm, gap in told["gaps"].items():
            lines.append(f"{'':<18}SFT minus {algorithm.upper()}: {_cell(gap)}")
        for algorithm, share in told["kept"].items():
            lines.append(f"{'':<18}warm-up, then {algorithm.upper()}, of SFT, then {algorithm.upper()}: {_percent(share)}")
    for algorithm, found in results["across"].items():
        if found["tenth"] is not None:
            tenth, small = _maybe(found["tenth"]), _maybe(found["small"])
            about = f"Over {len(found['tasks'])} tasks, Spearman's correlation of SFT minus {algorithm.upper()}"
            lines += ["", f"{about} with the 10th percentile of the std: {tenth};"]
            lines.append(f"with the share of inputs whose std is under 0.05: {small}")
    return "\n".join(lines)


def _settings(settings: Mapping[str, Any]) -> str:
    flat = {**settings, **settings.get("rl", {}), **settings.get("sft", {})}
    return ", ".join(f"{name} {_short(value)}" for name, value in flat.items() if name not in ("rl", "sft", "at_most"))


def _at_most(settings: Mapping[str, Any]) -> str:
    told = settings["at_most"]
    hours = "hours with --tokens-per-second and --train-tokens-per-second" if told["hours"] is None else f"{told['hours']:g} hours"
    return f"{told['sampled_tokens'] / 1e6:.2f} million tokens sampled and {told['read_tokens'] / 1e6:.1f} read, at most: {hours}"


def _short(value: Any) -> str:
    return "(" + ", ".join(f"{name} {part}" for name, part in value.items()) + ")" if isinstance(value, dict) else str(value)


def _maybe(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"


def plans_text(plans: Sequence[TaskPlan], how: Sequence[Mapping[str, Mapping[str, Any]]], tokens_per_second: float | None) -> str:
    """Every setting of each task and its arms (`Finetuning.to_json`, by name), and the hours that sampling takes at most."""
    lines = []
    for plan, arms in zip(plans, how, strict=True):
        task, asked, sampling = plan.task, plan.asked, plan.sampling
        form = "chat message" if asked.chat else "as in the paper"
        least = f", at least {plan.min_new_tokens}" if plan.min_new_tokens else ""
        filters = f"top-k {sampling.top_k}" if sampling.top_k else "all tokens"
        lines += [
            f"{task.title} ({task.name})",
            f"  policy       {plan.model}",
            f"  data         {asked.data or f'its own ({task.hub.name})'}, split {asked.split}, {asked.size} inputs, seed {asked.seed}",
            f"  prompt       {form}, {task.prompt_tokens} tokens, cut on the {task.cut}",
            f"  completions  {plan.completions} of each, {filters}, temperature {sampling.temperature:g}, at most "
            f"{sampling.max_new_tokens} tokens{least}",
            f"  reward       {plan.reward}",
            f"  command      {plan.command()}",
            *(line for arm, settings in arms.items() for line in (f"  {arm:<12} {_settings(settings)}", f"{'':<15}{_at_most(settings)}")),
        ]
        if tokens_per_second is not None:
            lines.append(f"  sampling     {plan.hours(tokens_per_second):.1f} hours at most, at {tokens_per_second:g} tokens per second")
        lines.append("")
    if tokens_per_second is not None:
        hours = [arm["at_most"]["hours"] for arms in how for arm in arms.values()]
        unknown = ", and what has no hours" if None in hours else ""
        together = sum(plan.hours(tokens_per_second) for plan in plans) + sum(own for own in hours if own is not None)
        lines.append(f"Together {together:.1f} hours at most{unknown}.")
    else:
        lines.append("Hours: give --tokens-per-second, as flatspot diagnose shows it for this policy on this machine.")
    return "\n".join([*lines, *_departures([(plan.task.title, list(plan.departures)) for plan in plans])])


def _departures(of_tasks: Sequence[tuple[str, list[str]]]) -> list[str]:
    """One line per departure, with the tasks that it is of."""
    tasks: dict[str, list[str]] = {}
    for title, departures in of_tasks:
        for departure in departures:
            tasks.setdefault(departure, []).append(title)
    if not tasks:
        return []
    lines = []
    for what, titles in tasks.items():
        lines.append(f"  {', '.join(titles) if len(titles) < len(of_tasks) else 'all tasks'}: {what}")
    return ["Not as in the paper:", *lines]


def _cell(estimate: Estimate) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})"


def _percent(estimate: Estimate) -> str:
    return f"{estimate['value']:.0%} ({estimate['low']:.0%}–{estimate['high']:.0%})"
