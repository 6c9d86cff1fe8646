"""What the report says, once: headline, shares, forecast, health, next steps, glossary. Terminal and HTML lay these out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flatspot.report.formats import MISSING, count, decimal, fine_percent, noun, number, percent, percent_range, visible

if TYPE_CHECKING:
    import pyarrow


Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report is laid out from.

    summary      the object `--json` prints; any key may be missing
    verdicts     columns of `core.schema.VERDICTS`, one row per prompt
    prompts      columns of `core.schema.PROMPTS`
    completions  columns of `core.schema.ROLLOUTS`, for the prompts whose completions are to be shown
    gradients    columns of `core.schema.GRADIENTS`, where they were measured
    """

    summary: Summary
    verdicts: pyarrow.Table
    prompts: pyarrow.Table
    completions: pyarrow.Table
    gradients: pyarrow.Table | None = None


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
    Verdict("learnable", "rewards vary enough between completions for RL to get a usable gradient", "leave it to RL", "●", "32"),
    Verdict(
        "vanishing", "completions earn almost the same low reward, so the gradient vanishes", "label it, hint it or drop it", "▼", "31"
    ),
    Verdict("solved", "completions already earn what can be earned", "spend no rollouts on it", "◆", "34"),
    Verdict("undecided", "the samples so far cannot tell", "draw more, or accept the risk", "■", "35"),
    Verdict("unscored", "the reward function gave no number", "fix the reward", "×", "90"),
)

_HEADLINES = {
    "proceed": ("Proceed with RL", "good"),
    "warm-up": ("Warm up before RL", "act"),
    "fix-reward": ("Fix the reward first", "stop"),
    "fix-data": ("Fix the prompts first", "stop"),
    "fix-sampling": ("Fix the sampling first", "stop"),
    "draw-more": ("Draw more completions first", "act"),
}
_NOISY = 0.2  # of the variance within prompts, from which on "proceed" says so

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "reward std",
        "the standard deviation of the reward over several completions of one prompt (ddof 1). Near 0, the expected gradient is too.",
    ),
    (
        "reach",
        "how many of its own standard deviations a prompt must climb to the best achievable reward: (best − mean) / std. Large is bad.",
    ),
    ("mixed group", "a group of completions of one prompt whose rewards are not all equal. Group-based methods learn only from those."),
    ("interval", "the range that holds the true value with 95% confidence, given the completions drawn."),
    ("predicted error", "the share of verdicts expected to be wrong, under the fitted model."),
    ("gradient norm", "the length of the gradient of the prompt's expected reward by the policy's weights; what RL follows."),
    ("relative std", "the prompt's std over the root mean square of all prompts' stds."),
    ("distinct", "how many of a prompt's completions differ from one another as text."),
    ("truncated", "completions cut off by the token limit before they ended."),
)


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
    """A labelled number, with a note."""

    label: str
    value: str
    note: str = ""


def section(summary: Summary, name: str) -> Mapping[str, Any]:
    """A nested object of the summary; empty where it is missing or something else."""
    found = summary.get(name)
    return found if isinstance(found, Mapping) else {}


def headline(summary: Summary) -> tuple[str, str]:
    """The verdict on the whole set in a few words, and its tone: good, act, stop or plain."""
    name = str(summary.get("verdict") or "")
    if name == "proceed" and (number(section(summary, "health").get("noise_share")) or 0.0) > _NOISY:
        return "Proceed, but the reward is noisy", "act"
    if name == "proceed" and "shaping-only" in caveat_codes(summary):
        return "Proceed, but one reward stays flat", "act"
    return _HEADLINES.get(name, (visible(name) or "No verdict", "plain"))


def sentence(summary: Summary, key: str) -> str:
    """A text of the summary such as its reason or rule; empty where it is missing."""
    found = summary.get(key)
    return visible(str(found)) if found else ""


def shares(summary: Summary) -> tuple[Share, ...]:
    """The five verdicts' counts and shares, in the order of `VERDICTS`."""
    counts, fractions = section(summary, "counts"), section(summary, "fractions")
    found = []
    for verdict in VERDICTS:
        fraction = section(fractions, verdict.name)
        n = number(counts.get(verdict.name)) or 0
        found.append(Share(verdict, int(n), number(fraction.get("mean")), number(fraction.get("lo")), number(fraction.get("hi"))))
    return tuple(found)


def forecasts(summary: Summary) -> tuple[Forecast, ...]:
    """The forecast by group size, smallest first; sizes or shares that are not numbers are left out."""
    planned = number(summary.get("group_size"))
    found = []
    for size, row in section(summary, "forecast").items():
        value = number(row.get("informative")) if isinstance(row, Mapping) else None
        if value is not None and str(size).isascii() and str(size).isdigit():
            found.append(Forecast(int(size), value, number(row.get("lo")), number(row.get("hi")), int(size) == planned))
    return tuple(sorted(found, key=lambda row: row.group_size))


def reward_facts(summary: Summary) -> tuple[Fact, ...]:
    """Mean reward, its range, and the within-prompt std."""
    reward = section(summary, "reward")
    std = section(reward, "std")
    facts = [Fact("mean reward", decimal(reward.get("mean")), reward_range(summary))]
    labels = {"p10": "std, 10th percentile", "p50": "std, median", "mean": "std, mean"}
    facts += [Fact(label, decimal(std[key])) for key, label in labels.items() if key in std]
    for key in sorted(key for key in std if key.startswith("share_below_")):
        facts.append(Fact(f"std below {visible(key.removeprefix('share_below_'))}", percent(std[key]), "of the prompts"))
    return tuple(facts)


def reward_range(summary: Summary) -> str:
    """The reward's range, in words; empty where it is not known."""
    limits = range_limits(summary)
    return (
        f"in [{decimal(limits[0], 0)}, {decimal(limits[1], 0)}]"
        if limits and all(x == int(x) for x in limits)
        else (f"in [{decimal(limits[0])}, {decimal(limits[1])}]" if limits else "")
    )


def range_limits(summary: Summary) -> tuple[float, float] | None:
    """The reward's range as numbers, where it is given and not empty."""
    found = section(summary, "reward").get("range")
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != 2:
        return None
    lo, hi = number(found[0]), number(found[1])
    return (lo, hi) if lo is not None and hi is not None and lo < hi else None


def cost_facts(summary: Summary) -> tuple[Fact, ...]:
    """What the verdicts cost and how sure they are."""
    generations = section(summary, "generations")
    found = [
        Fact("prompts", count(summary.get("n_prompts"))),
        Fact(
            "generations",
            count(generations.get("total")),
            f"{decimal(generations['per_prompt'], 1)} per prompt" if "per_prompt" in generations else "",
        ),
        Fact("tokens", count(generations.get("tokens"))),
        Fact(
            "predicted error",
            fine_percent(summary.get("predicted_error")),
            ", ".join(filter(None, ["of the verdicts", error_limit(summary)])),
        ),
    ]
    return tuple(fact for fact in found if fact.value != MISSING)


def error_limit(summary: Summary) -> str:
    """How large the error of the verdicts is in the worst case, with the level of that limit; "" where that is not known."""
    limit = fine_percent(summary.get("predicted_error_limit"))
    return "" if limit == MISSING else f"worst case {limit} (97.5% limit)"


def health_facts(summary: Summary) -> tuple[Fact, ...]:
    """Distinct, truncated and failed completions."""
    health = section(summary, "health")
    words = {"distinct_share": "distinct completions", "truncated_share": "cut by the token limit", "error_share": "reward errors"}
    return tuple(Fact(label, fine_percent(health[key])) for key, label in words.items() if number(health.get(key)) is not None)


def errors(summary: Summary) -> tuple[tuple[str, int], ...]:
    """Error messages with how often each came, most frequent first."""
    found = section(summary, "health").get("errors")
    rows = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    pairs = [(visible(str(row.get("error"))), int(number(row.get("count")) or 0)) for row in rows if isinstance(row, Mapping)]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def caveats(summary: Summary) -> tuple[str, ...]:
    """What a reader should hold against the result."""
    found = summary.get("caveats")
    if isinstance(found, str):
        return (visible(found),)
    return tuple(visible(str(text)) for text in found) if isinstance(found, Sequence) else ()


def caveat_codes(summary: Summary) -> tuple[str, ...]:
    """The stable codes of what a reader should hold against the result."""
    found = summary.get("caveat_codes")
    return tuple(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else ()


def key_facts(summary: Summary) -> tuple[Fact, ...]:
    """The four or five numbers to read first."""
    by_name = {share.verdict.name: share for share in shares(summary)}
    vanishing = by_name["vanishing"]
    interval = percent_range(vanishing.lo, vanishing.hi)
    std = section(section(summary, "reward"), "std")
    planned = next((row for row in forecasts(summary) if row.planned), None)
    found = [
        Fact("of prompts vanish", percent(vanishing.mean), f"95% interval {interval}" if interval else ""),
        Fact("mean reward", decimal(section(summary, "reward").get("mean")), reward_range(summary)),
        Fact("median reward std", decimal(std.get("p50")), f"10th percentile {decimal(std['p10'])}" if "p10" in std else ""),
    ]
    if planned:
        spread = percent_range(planned.lo, planned.hi)
        found.append(
            Fact(
                f"of groups of {planned.group_size} carry a signal",
                percent(planned.informative),
                f"90% interval {spread}" if spread else "",
            )
        )
    drawn = noun(section(summary, "generations").get("total"), "completion") + " drawn"
    found.append(Fact("of verdicts may be wrong", fine_percent(summary.get("predicted_error")), error_limit(summary) or drawn))
    return tuple(fact for fact in found if fact.value != MISSING)
