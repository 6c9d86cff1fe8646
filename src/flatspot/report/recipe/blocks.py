"""What the report of a recipe says, once: headline, reason, facts, tables. Terminal and HTML lay these out; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flatspot.report.blocks import VERDICTS, Fact, Summary, section
from flatspot.report.formats import MISSING, count, decimal, noun, number, percent, percent_range, visible

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
    "Shares are estimates for prompts like these, with 95% limits: an undecided prompt counts to the states it may be in. Undecided and "
    "unscored are counts of these prompts."
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, and its cells as text."""

    name: str
    cells: tuple[str, ...]


def stages_of(summary: Summary) -> tuple[str, ...]:
    """The diagnoses that the summary has, in order."""
    return tuple(section(summary, "policies"))


def headline(summary: Summary) -> tuple[str, str]:
    """The outcome in a few words, and its tone: good, act, stop or plain."""
    alone, before = _limits(summary, "over_alone"), _limits(summary, "over_before")
    if alone is not None:
        if alone[1] > 0:
            return "The warm-up paid off", "good"
        if alone[2] < 0:
            return "RL alone did better", "stop"
        return "The warm-up made no clear difference", "plain"
    if before is None:
        return "No outcome", "plain"
    if (warmed := _limits(summary, "over_warmed")) is not None and before[1] > 0 and warmed[1] <= 0:
        return ("RL lost what the warm-up won", "stop") if warmed[2] < 0 else ("The warm-up helped, RL added nothing clear", "plain")
    if before[1] > 0:
        return "RL learned", "good"
    return ("RL made it worse", "stop") if before[2] < 0 else ("RL did not learn", "act")


def reason(summary: Summary) -> str:
    """The outcome in two or three sentences."""
    policies, warmup = section(summary, "policies"), summary.get("warmup")
    before, after = (_reward(policies, name) for name in ("before", "after"))
    how = f"with a warm-up on {noun(warmup['labels'], 'label')} and RL" if isinstance(warmup, Mapping) else "with RL and no warm-up"
    said = f"Mean reward went from {before} to {after} {how}."
    if (warmed := _limits(summary, "over_warmed")) is not None:
        said += f" After the warm-up it was {_reward(policies, 'warmed')}: RL added {_three(warmed)}."
    alone = _limits(summary, "over_alone")
    if alone is not None:
        said += f" RL alone, with as many completions, reached {_reward(policies, 'after-alone')}: a difference of {_three(alone)}."
    return said


def key_facts(summary: Summary) -> tuple[Fact, ...]:
    """The four or five numbers to read first."""
    policies, warmup = section(summary, "policies"), summary.get("warmup")
    first, last = section(policies, "before"), section(policies, "after")
    was, now = (section(section(found, "fractions"), "vanishing") for found in (first, last))
    reward = section(last, "reward")
    found = [
        Fact("mean reward after RL", decimal(reward.get("mean")), f"before {decimal(section(first, 'reward').get('mean'))}"),
        Fact("of prompts still vanish", percent(now.get("mean")), f"before {percent(was.get('mean'))}"),
    ]
    if (alone := _limits(summary, "over_alone")) is not None:
        found.append(Fact("over RL alone", _signed(alone[0]), f"95% interval {_signed(alone[1])} to {_signed(alone[2])}"))
    if isinstance(warmup, Mapping):
        note = f"{noun(warmup['chosen_step'], 'step')} of warm-up" if (number(warmup["chosen_step"]) or 0) > 0 else ""
        found.append(Fact("labels", count(warmup["labels"]), note))
    drawn = sum(row["generations"] or 0 for row in costs(summary) if row["stage"] in ("warmup", "train"))
    found.append(Fact("completions to train", count(drawn), "probes of the warm-up and RL"))
    return tuple(found)


def composition_rows(summary: Summary) -> tuple[Row, ...]:
    """Verdict by diagnosis: of the three states the estimated share with its interval, of the other two how many prompts got it."""
    policies = section(summary, "policies")
    rows = [Row(verdict.name, tuple(_cell(policies[name], verdict.name) for name in policies)) for verdict in VERDICTS]
    rows.append(Row("mean reward", tuple(_reward(policies, name) for name in policies)))
    return tuple(rows)


def _cell(policy: Summary, verdict: str) -> str:
    if verdict in ("undecided", "unscored"):
        counts = section(policy, "counts")
        return f"{count(counts.get(verdict))} of {count(sum(int(number(n) or 0) for n in counts.values()))}"
    share = section(section(policy, "fractions"), verdict)
    limits = percent_range(share.get("lo"), share.get("hi"))
    return f"{percent(share.get('mean'))}{f' [{limits}]' if limits else ''}"


def costs(summary: Summary) -> Sequence[Mapping[str, Any]]:
    """The rows of the cost table as numbers."""
    found = summary.get("cost")
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def cost_rows(summary: Summary) -> tuple[Row, ...]:
    """Stage, labels, steps, completions, time; then what training with and without the warm-up took."""
    rows = [Row(STAGES.get(row["stage"], row["stage"]), _cost_cells(row)) for row in costs(summary)]
    totals = section(summary, "training_cost")
    return (*rows, *(Row(name, _cost_cells(row)) for name, row in totals.items()))


def _cost_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = [count(row[key]) if row.get(key) is not None else MISSING for key in ("labels", "steps", "generations")]
    return (*numbers, duration(row.get("seconds")))


def duration(seconds: Any) -> str:
    """A time as people say it.

    >>> duration(3.2), duration(75), duration(7300), duration(None)
    ('3 s', '1 min 15 s', '2 h 1 min', '–')
    """
    found = number(seconds)
    if found is None:
        return MISSING
    whole = round(found)
    if whole < 60:
        return f"{whole} s" if whole or not found else "<1 s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def warm_up_sentence(summary: Summary) -> str:
    """When the warm-up stopped, and why; empty without one."""
    found = summary.get("warmup")
    if not isinstance(found, Mapping):
        return ""
    why = visible(str(found["why"]))
    if not found["curve"]:
        return f"{why[:1].upper()}{why[1:]}."
    taken, steps = found["chosen_step"], found["steps"]
    return f"Stopped after step {count(steps)}, and the checkpoint of step {count(taken)} was taken: {why}."


def stage_folders(summary: Summary) -> tuple[Fact, ...]:
    """Where each stage is, and whether it was done before."""
    found = summary.get("stages")
    rows = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return tuple(Fact(STAGES.get(r["stage"], r["stage"]), visible(r["folder"]), "there already" if r["reused"] else "") for r in rows)


def _limits(summary: Summary, name: str) -> tuple[float, float, float] | None:
    found = section(section(summary, "gain"), name)
    mean, lo, hi = (number(found.get(key)) for key in ("mean", "lo", "hi"))
    return None if mean is None or lo is None or hi is None else (mean, lo, hi)


def _reward(policies: Mapping[str, Any], name: str) -> str:
    return decimal(section(section(policies, name), "reward").get("mean"))


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{decimal(abs(value))}"


def _three(found: tuple[float, float, float]) -> str:
    return f"{_signed(found[0])} (95% interval {_signed(found[1])} to {_signed(found[2])})"
