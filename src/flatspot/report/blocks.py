"""The words of the report: headline, shares, forecast, health, next steps, glossary. Terminal and HTML lay these out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.core.shares import short
from flatspot.report.formats import MISSING, count, decimal, fine_percent, noun, number, percent, percent_range, visible

if TYPE_CHECKING:
    import pyarrow

    from flatspot.runs.by_step import GroupCurve
    from flatspot.runs.prompt_steps import PromptGrid
    from flatspot.runs.summary import Component, Summary
    from flatspot.runs.summary import Share as Limits


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report is laid out from.

    summary      the object `--json` prints
    verdicts     columns of `core.schema.VERDICTS`, one row per prompt
    prompts      columns of `core.schema.PROMPTS`
    completions  columns of `core.schema.ROLLOUTS`, for the prompts whose completions are to be shown
    gradients    columns of `core.schema.GRADIENTS`, where they were measured
    steps        how the groups of a training went on, where the rows say steps
    grid         how its prompts did
    """

    summary: Summary
    verdicts: pyarrow.Table
    prompts: pyarrow.Table
    completions: pyarrow.Table
    gradients: pyarrow.Table | None = None
    steps: GroupCurve | None = None
    grid: PromptGrid | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of the five verdicts: its name, what it means, what to do, and its mark in a terminal."""

    name: str
    meaning: str
    action: str
    glyph: str
    ansi: str


# the order of the legend, the filters and the composition: what works first, what needs somebody next
VERDICTS: tuple[Verdict, ...] = (
    Verdict("learnable", "a signal: rewards differ within groups, often and by enough for RL to learn", "leave it to RL", "●", "32"),
    Verdict(
        "vanishing",
        "no signal, and more may be achievable: rewards hardly differ within groups, so the gradient vanishes",
        "label it, hint it or drop it",
        "▼",
        "31",
    ),
    Verdict(
        "solved",
        "no signal, and nothing left to win: rewards are already about the best achievable",
        "spend no completions on it",
        "◆",
        "34",
    ),
    Verdict("undecided", "too few completions to decide", "sample more, or accept the risk", "■", "35"),
    Verdict("unscored", "the reward function returned no number", "fix the reward", "×", "90"),
)

_HEADLINES = {
    "proceed": ("Proceed with RL", "good"),
    "warm-up": ("Warm up before RL", "act"),
    "fix-reward": ("Fix the reward first", "stop"),
    "fix-data": ("Fix the prompts first", "stop"),
    "fix-sampling": ("Fix the sampling first", "stop"),
    "draw-more": ("Sample more completions first", "act"),
}
_NOISY = 0.2  # of the variance within prompts, from which on "proceed" says so

# terms of the report, each of which it uses
GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "reward std",
        "the standard deviation of the reward over the completions of one prompt. If it is near 0, so is the expected gradient.",
    ),
    (
        "mixed group",
        "a group of completions of one prompt with at least two different rewards. GRPO and RLOO get a gradient from mixed groups only.",
    ),
    ("gain", "E[best of a group] − mean: what the best completion of a group is expected to earn beyond the mean."),
    (
        "signal",
        "enough groups of a prompt are mixed and, unless advantages are normalized, the gain is large enough. Without a signal a prompt is "
        "solved if nothing is left to win, else vanishing.",
    ),
    ("interval", "contains the true value with the stated probability, given the completions sampled."),
    ("predicted error", "the expected share of wrong verdicts, under the fitted model."),
    ("distinct completions", "different texts among the completions of a prompt, as a share of them; averaged over the prompts."),
)
GRADIENT_TERM = ("gradient norm", "the length of the gradient of a prompt's expected reward with respect to the weights of the policy.")


@dataclass(frozen=True, slots=True)
class Share:
    """One verdict's part of the set: how many prompts, and the share with its interval."""

    verdict: Verdict
    count: int
    mean: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The share of groups of one size that would be mixed, with its interval."""

    group_size: int
    informative: float
    lo: float | None
    hi: float | None
    planned: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, in a sentence, and the command that does it (empty where there is none)."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A labeled number, with a note."""

    label: str
    value: str
    note: str = ""


def headline(summary: Summary) -> tuple[str, str]:
    """The verdict on the whole set in a few words, and its tone: good, act, stop or plain."""
    name = summary.verdict or ""
    if name == "proceed" and (summary.health.noise_share or 0.0) > _NOISY:
        return "Proceed, but the reward is noisy", "act"
    if name == "proceed" and summary.health.flat_reward:
        return "Proceed, but one reward stays flat", "act"
    return _HEADLINES.get(name, (visible(name) or "No verdict", "plain"))


def shares(summary: Summary) -> tuple[Share, ...]:
    """The five verdicts' counts and shares, in the order of `VERDICTS`."""
    counts = dict(summary.counts.items())
    limits: dict[str, Limits] = {verdict.name: getattr(summary.fractions, verdict.name) for verdict in VERDICTS}
    return tuple(Share(v, counts[v.name], limits[v.name].mean, limits[v.name].lo, limits[v.name].hi) for v in VERDICTS)


def forecasts(summary: Summary) -> tuple[Forecast, ...]:
    """The forecast by group size, smallest first; sizes or shares that are not numbers are left out."""
    rows = [
        Forecast(int(size), row.informative, row.lo, row.hi, int(size) == summary.group_size)
        for size, row in summary.forecast.items()
        if row.informative is not None and size.isascii() and size.isdigit()
    ]
    return tuple(sorted(rows, key=lambda row: row.group_size))


def reward_facts(summary: Summary) -> tuple[Fact, ...]:
    """Mean reward, its range, and the within-prompt std."""
    std = summary.reward.std
    percentiles = {"std, 10th percentile": std.p10, "std, median": std.p50, "std, mean": std.mean}
    below = {"0.01": std.below_1, "0.02": std.below_2, "0.05": std.below_5}
    return (
        Fact("mean reward", decimal(summary.reward.mean), reward_range(summary)),
        *(Fact(label, decimal(value)) for label, value in percentiles.items()),
        *(Fact(f"std below {limit}", percent(share), "of the prompts") for limit, share in below.items()),
    )


def vanishing_count(component: Component) -> str:
    """On how many prompts one of several rewards vanishes; a dash where it was not judged."""
    n = sum(k for _, k in component.counts.items())
    return f"{count(component.counts.vanishing)} of {count(n)}" if n else MISSING


def reward_range(summary: Summary) -> str:
    """The reward's range, in words; empty where it is none."""
    limits = range_limits(summary.reward.range)
    if limits is None:
        return ""
    return f"in [{short(limits[0])}, {short(limits[1])}]"


def range_limits(limits: Sequence[float]) -> tuple[float, float] | None:
    """(lo, hi) of a range; None where it is empty or not finite."""
    lo, hi = (number(limit) for limit in limits)
    return (lo, hi) if lo is not None and hi is not None and lo < hi else None


def cost_facts(summary: Summary) -> tuple[Fact, ...]:
    """What the verdicts cost and how sure they are."""
    completions = summary.generations
    facts = [
        Fact("prompts", count(summary.n_prompts)),
        Fact("completions", count(completions.total), f"{decimal(completions.per_prompt, 1)} per prompt"),
        Fact("tokens", count(completions.tokens)),
        Fact(
            "predicted error",
            fine_percent(summary.predicted_error),
            ", ".join(filter(None, ["of the verdicts", error_limit(summary)])),
        ),
        Fact("verdicts proved", count(summary.proved), error_of_rest(summary) or "by the probabilities of the completions"),
    ]
    return tuple(fact for fact in facts if fact.value != MISSING)


def error_limit(summary: Summary) -> str:
    """How large the error of the verdicts is in the worst case, with the level of that limit; "" where that is not known."""
    limit = fine_percent(summary.predicted_error_limit)
    return "" if limit == MISSING else f"worst case {limit} (97.5% limit)"


def error_of_rest(summary: Summary) -> str:
    """The predicted error of the verdicts that are not proved, where some are; "" where none is."""
    rest = fine_percent(summary.predicted_error_unproved)
    return "" if rest == MISSING or not summary.proved else f"predicted error of the others {rest}"


def health_facts(summary: Summary) -> tuple[Fact, ...]:
    """Distinct, truncated and failed completions."""
    health = summary.health
    parts = {
        "distinct completions": health.distinct_share,
        "cut by the token limit": health.truncated_share,
        "reward errors": health.error_share,
    }
    return tuple(Fact(label, fine_percent(share)) for label, share in parts.items() if share is not None)


def errors(summary: Summary) -> tuple[tuple[str, int], ...]:
    """Error messages with how often each came, most frequent first."""
    return tuple(sorted(((visible(row.error), row.count) for row in summary.health.errors), key=lambda pair: -pair[1]))


def caveats(summary: Summary) -> tuple[str, ...]:
    """What a reader should hold against the result."""
    return tuple(visible(text) for text in summary.caveats)


def deciding_component(summary: Summary) -> str | None:
    """The one of several rewards by which the set was judged; None where it was judged by the total."""
    name = summary.health.flat_reward
    return name if name in summary.components and summary.rule.startswith(f"{name!r} vanishes") else None


def key_facts(summary: Summary) -> tuple[Fact, ...]:
    """The four or five numbers to read first."""
    vanishing, std = summary.fractions.vanishing, summary.reward.std
    interval = percent_range(vanishing.lo, vanishing.hi)
    planned = next((row for row in forecasts(summary) if row.planned), None)
    vanish = Fact("of prompts vanish", percent(vanishing.mean), f"95% interval {interval}" if interval else "")
    if (name := deciding_component(summary)) is not None:
        words = f"of prompts vanish by {visible(name)}, not by the total"
        vanish = Fact(words, percent(summary.components[name].flat_share), f"by the total: {percent(vanishing.mean)}")
    facts = [
        vanish,
        Fact("mean reward", decimal(summary.reward.mean), reward_range(summary)),
        Fact("median reward std", decimal(std.p50), f"10th percentile {decimal(std.p10)}"),
    ]
    if planned:
        limits = percent_range(planned.lo, planned.hi)
        facts.append(
            Fact(
                f"of groups of {planned.group_size} will be mixed",
                percent(planned.informative),
                f"90% interval {limits}" if limits else "",
            )
        )
    drawn = noun(summary.generations.total, "completion") + " drawn"
    facts.append(Fact("of verdicts may be wrong", fine_percent(summary.predicted_error), error_limit(summary) or drawn))
    return tuple(fact for fact in facts if fact.value != MISSING)
