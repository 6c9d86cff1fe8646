"""What the report of a recipe says, once: headline, reason, facts, tables. Terminal and HTML lay these out; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flatspot.report.blocks import VERDICTS, Fact
from flatspot.report.formats import MISSING, count, decimal, noun, number, percent, percent_range, visible
from flatspot.runs.recipe_summary import Cost, PolicySummary, RecipeSummary, StageCost
from flatspot.runs.summary import Share

STAGES: Mapping[str, str] = {
    "before": "before",
    "plan": "choice of labels",
    "warmup": "warm-up",
    "warmed": "after the warm-up",
    "train": "RL",
    "after": "after RL",
    "train-alone": "RL alone",
    "after-alone": "after RL alone",
}

COMPOSITION_NOTE = (
    "Shares are estimates for these prompts, with 95% limits for prompts like these: an undecided prompt counts partly as each verdict "
    "that it may turn out to have. Undecided and unscored are counts of these prompts."
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, and its cells as text."""

    name: str
    cells: tuple[str, ...]


def headline(summary: RecipeSummary) -> tuple[str, str]:
    """The outcome in a few words, and its tone: good, act, stop or plain."""
    alone, before = _limits(summary.gain.over_alone), _limits(summary.gain.over_before)
    if alone is not None:
        if alone[1] > 0:
            return "The warm-up paid off", "good"
        if alone[2] < 0:
            return "RL alone did better", "stop"
        return "The warm-up made no clear difference", "plain"
    if before is None:
        return "No outcome", "plain"
    if (warmed := _limits(summary.gain.over_warmed)) is not None and before[1] > 0 and warmed[1] <= 0:
        return ("RL lost what the warm-up won", "stop") if warmed[2] < 0 else ("The warm-up helped, RL added nothing clear", "plain")
    if before[1] > 0:
        return "RL learned", "good"
    return ("RL made it worse", "stop") if before[2] < 0 else ("RL did not learn", "act")


def reason(summary: RecipeSummary) -> str:
    """The outcome in two or three sentences."""
    before, after = (_reward(summary, name) for name in ("before", "after"))
    how = "with RL and no warm-up" if summary.warmup is None else f"with a warm-up on {noun(summary.warmup.labels, 'label')} and RL"
    text = f"Mean reward went from {before} to {after} {how}."
    if (warmed := _limits(summary.gain.over_warmed)) is not None:
        text += f" After the warm-up it was {_reward(summary, 'warmed')}: RL added {_three(warmed)}."
    alone = _limits(summary.gain.over_alone)
    if alone is not None:
        text += f" RL alone, with as many completions, reached {_reward(summary, 'after-alone')}: a difference of {_three(alone)}."
    return text


def key_facts(summary: RecipeSummary) -> tuple[Fact, ...]:
    """The four or five numbers to read first."""
    first, last = (summary.policies.get(name, PolicySummary()) for name in ("before", "after"))
    was, now = first.fractions.vanishing, last.fractions.vanishing
    facts = [
        Fact("mean reward after RL", decimal(last.reward.mean), f"before {decimal(first.reward.mean)}"),
        Fact("of prompts still vanish", percent(now.mean), f"before {percent(was.mean)}"),
    ]
    if (alone := _limits(summary.gain.over_alone)) is not None:
        facts.append(Fact("over RL alone", _signed(alone[0]), f"95% interval {_signed(alone[1])} to {_signed(alone[2])}"))
    if summary.warmup is not None:
        step = summary.warmup.chosen_step
        facts.append(Fact("labels", count(summary.warmup.labels), f"{noun(step, 'step')} of warm-up" if step > 0 else ""))
    drawn = sum(row.generations or 0 for row in summary.cost if row.stage in ("warmup", "train"))
    facts.append(Fact("completions to train", count(drawn), "probes of the warm-up and RL"))
    return tuple(facts)


def composition_rows(summary: RecipeSummary) -> tuple[Row, ...]:
    """Verdict by diagnosis: of the three states the estimated share with its interval, of the other two how many prompts got it."""
    rows = [Row(verdict.name, tuple(_cell(policy, verdict.name) for policy in summary.policies.values())) for verdict in VERDICTS]
    rows.append(Row("mean reward", tuple(_reward(summary, name) for name in summary.policies)))
    return tuple(rows)


def _cell(policy: PolicySummary, verdict: str) -> str:
    if verdict in ("undecided", "unscored"):
        counts = dict(policy.counts.items())
        return f"{count(counts[verdict])} of {count(sum(counts.values()))}"
    share: Share = getattr(policy.fractions, verdict)
    limits = percent_range(share.lo, share.hi)
    return f"{percent(share.mean)}{f' [{limits}]' if limits else ''}"


def cost_rows(summary: RecipeSummary) -> tuple[Row, ...]:
    """Stage, labels, steps, completions, time; then what training with and without the warm-up took."""
    rows = [Row(STAGES.get(row.stage, row.stage), _cost_cells(row)) for row in summary.cost]
    return (*rows, *(Row(name, _cost_cells(row)) for name, row in summary.training_cost.items()))


def _cost_cells(row: Cost | StageCost) -> tuple[str, ...]:
    return (*(count(n) for n in (row.labels, row.steps, row.generations)), duration(row.seconds))


def duration(seconds: float | None) -> str:
    """A time as people say it.

    >>> duration(3.2), duration(75), duration(7300), duration(None)
    ('3 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole or not seconds else "<1 s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def warm_up_sentence(summary: RecipeSummary) -> str:
    """When the warm-up stopped, and why; empty without one."""
    if summary.warmup is None:
        return ""
    why, step, steps = visible(summary.warmup.why), summary.warmup.chosen_step, summary.warmup.steps
    if not summary.warmup.curve:
        return f"{why[:1].upper()}{why[1:]}."
    return f"Stopped after step {count(steps)}, and the checkpoint of step {count(step)} was selected: {why}."


def stage_folders(summary: RecipeSummary) -> tuple[Fact, ...]:
    """Where each stage is, and whether it was done before."""
    return tuple(
        Fact(STAGES.get(row.stage, row.stage), visible(row.folder), "there already" if row.reused else "") for row in summary.stages
    )


def _limits(share: Share | None) -> tuple[float, float, float] | None:
    mean, lo, hi = (None, None, None) if share is None else (number(share.mean), number(share.lo), number(share.hi))
    return None if mean is None or lo is None or hi is None else (mean, lo, hi)


def _reward(summary: RecipeSummary, name: str) -> str:
    return decimal(summary.policies[name].reward.mean if name in summary.policies else None)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{decimal(abs(value))}"


def _three(gain: tuple[float, float, float]) -> str:
    return f"{_signed(gain[0])} (95% interval {_signed(gain[1])} to {_signed(gain[2])})"
