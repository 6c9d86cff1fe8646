"""What the steps of a training come to, in words: for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatspot.report.formats import count, decimal, noun, percent, percent_range

if TYPE_CHECKING:
    from flatspot.runs.steps_summary import StepsSummary, WindowShare


def steps_facts(steps: StepsSummary | None) -> list[str]:
    """What the steps of a training come to, in a few phrases."""
    if steps is None:
        return []
    return [*_shares(steps), *_changes(steps), *_stopped(steps)]


def _shares(steps: StepsSummary) -> list[str]:
    first, last = steps.windows[0], steps.windows[-1]
    if first.vanishing.mean is None or last.vanishing.mean is None:
        return []
    where = f"{span_of(first.first, first.last)} → {span_of(last.first, last.last, short=True)}"
    ways = [
        f"{name} {_limits(a)} → {_limits(b)}"
        for name, a, b in (("vanishing", first.vanishing, last.vanishing), ("solved", first.solved, last.solved))
    ]
    return [f"{where}: {', '.join(ways)}"]


def _changes(steps: StepsSummary) -> list[str]:
    if not steps.n_compared:
        return []
    spans = f"{span_of(*steps.start)} and {span_of(*steps.end, short=True)}"
    if spans.startswith("step "):
        spans = f"steps{spans.removeprefix('step')}"
    if not steps.n_changed:
        return [f"none of the {noun(steps.n_compared, 'prompt')} drawn in {spans} changed by more than chance"]
    ways = [f"{count(change.count)} {change.before} → {change.after}" for change in steps.changes[:4]]
    rest = steps.n_changed - sum(change.count for change in steps.changes[:4])
    if rest:
        ways.append(f"{count(rest)} {'others' if len(steps.changes) > 4 else 'within a state'}")
    return [f"{count(steps.n_changed)} of the {noun(steps.n_compared, 'prompt')} drawn in {spans} changed: {', '.join(ways)}"]


def _stopped(steps: StepsSummary) -> list[str]:
    stopped = steps.stopped
    if not stopped.count or stopped.first_step is None or stopped.median_step is None:
        return []
    when = f"since step {stopped.first_step:,}"
    if stopped.median_step > stopped.first_step:
        when = f"the first since step {stopped.first_step:,}, half since {stopped.median_step:,}"
    said = [f"{count(stopped.count)} of {noun(stopped.n_drawn, 'prompt')} no longer drawn ({when})"]
    if stopped.mean_std is not None:
        said.append(f"mean std when last drawn {decimal(stopped.mean_std)}")
    if stopped.equal_low + stopped.equal_high:
        kinds = ((stopped.equal_high, "high"), (stopped.equal_low, "low"))
        said.append(" and ".join(f"{count(n)} with equal, {name} rewards" for n, name in kinds if n))
    return [", ".join(said)]


def span_of(first: int, last: int, *, short: bool = False) -> str:
    """A window of steps in words; `short` after another one."""
    words = f"{first:,}" if first == last else f"{first:,}–{last:,}"
    return words if short else f"step{'s' if first != last else ''} {words}"


def _limits(share: WindowShare) -> str:
    limits = percent_range(share.lo, share.hi)
    return percent(share.mean) + (f" [{limits}]" if limits else "")
