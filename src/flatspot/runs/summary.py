"""What a judged run comes to: the object that `--json` prints, report.json holds and `Run.summary` is.

Each field says what it means, once: docs/reference/json.md is generated from here. A number that is not known is None, and null in JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated

from flatspot.core.json_tree import Key, fields_from_json, fields_to_json
from flatspot.core.plain import Json
from flatspot.core.request import Request
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.runs.gradients_summary import Gradients
from flatspot.runs.steps_summary import StepsSummary

Number = float | None


@dataclass(frozen=True)
class Counts:
    """Prompts by verdict."""

    learnable: int = 0
    vanishing: int = 0
    solved: int = 0
    undecided: int = 0
    unscored: int = 0

    def items(self) -> Iterator[tuple[str, int]]:
        """(verdict, prompts), in this order."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))


@dataclass(frozen=True)
class Share:
    """A share of the prompts, with its 95% limits."""

    mean: Annotated[Number, "the estimate"] = None
    lo: Annotated[Number, "lower 95% limit"] = None
    hi: Annotated[Number, "upper 95% limit"] = None


@dataclass(frozen=True)
class Fractions:
    """The share of the prompts in each state, with 95% limits for prompts like these."""

    learnable: Share = Share()
    vanishing: Share = Share()
    solved: Share = Share()
    undecided: Share = Share()
    unscored: Share = Share()


@dataclass(frozen=True)
class RewardStds:
    """Of the within-prompt stds of the prompts with two scored completions or more."""

    p10: Annotated[Number, "10th percentile over prompts"] = None
    p50: Annotated[Number, "median"] = None
    p90: Annotated[Number, "90th percentile"] = None
    mean: Annotated[Number, "mean"] = None
    below_1: Annotated[Number, "share of prompts with a measured std under 0.01", Key("share_below_0.01")] = None
    below_2: Annotated[Number, "under 0.02", Key("share_below_0.02")] = None
    below_5: Annotated[Number, "under 0.05", Key("share_below_0.05")] = None


@dataclass(frozen=True)
class RewardSummary:
    """The weighted total over the set."""

    range: Annotated[tuple[float, float], "`[lo, hi]`: stated, the reward's own, or guessed, in which case a caveat says so"] = (0.0, 1.0)
    range_known: Annotated[bool, "whether the rewards cannot leave the range: false where it is the least and the most that was seen"] = (
        True
    )
    mean: Annotated[Number, "mean over prompts of their mean rewards"] = None
    std: Annotated[
        RewardStds, "of the within-prompt stds, `std` of verdicts.parquet, of the prompts with two scored completions or more"
    ] = RewardStds()


@dataclass(frozen=True)
class Component:
    """One of several rewards, by its own value, before weights."""

    mean: Annotated[Number, "mean over prompts"] = None
    std_mean: Annotated[Number, "mean of the within-prompt stds"] = None
    range: Annotated[
        tuple[float, float] | None,
        "`[lo, hi]`: its own, or `[0, 1]` where its values reach both of these; `null` where nobody states what it can give",
    ] = None
    weight: Annotated[float, "its weight in the total; 1 where it is not known"] = 1.0
    flat_share: Annotated[
        float,
        "expected share of the prompts on which this reward vanishes and the total has a signal: there RL learns from the others alone",
    ] = 0.0
    counts: Annotated[Counts, "prompts by the verdict that this reward would get alone"] = Counts()
    reward_model: Annotated[str, "how it was modeled, as `reward_model` of the total"] = "none"


@dataclass(frozen=True)
class Completions:
    """How much was sampled."""

    total: Annotated[int, "in all"] = 0
    per_prompt: Annotated[float, "per prompt, on average; below `--max-completions` where prompts were settled earlier"] = 0.0
    tokens: Annotated[int | None, "tokens in them; `null` where a log does not say"] = None


@dataclass(frozen=True)
class DrawProgress:
    """How much of the planned completions a run has."""

    completions: Annotated[int, "completions on disk"]
    planned: Annotated[int, "completions of the rounds that were decided on so far"]
    ended: Annotated[
        bool,
        "whether the run came to its end. If not, prompts without a completion are undecided, and set-level numbers rest on the others",
    ]


@dataclass(frozen=True)
class Mixed:
    """The expected share of groups with two different rewards: the mean over these prompts, with 90% limits for prompts like these."""

    informative: Number = None
    lo: Number = None
    hi: Number = None


@dataclass(frozen=True)
class ToTrain:
    """The prompts that are learnable or undecided; of a run that was stopped, those of them that have completions."""

    n_prompts: Annotated[int, "how many"] = 0
    informative: Annotated[
        Number,
        "the share of their groups of `group_size` that is expected to hold two different rewards; `null` where there is none of them. "
        "`forecast` is of all prompts",
    ] = None


@dataclass(frozen=True)
class ErrorCount:
    """Why completions have no reward."""

    error: Annotated[str, "the message"]
    count: Annotated[int, "how many rows have it"]


@dataclass(frozen=True)
class Health:
    """Signs that something is wrong before the reward."""

    distinct_share: Annotated[Number, "distinct completions of a prompt among all of its completions, mean over prompts"] = None
    truncated_share: Annotated[Number, "completions cut by the token limit"] = None
    error_share: Annotated[Number, "completions without a reward"] = None
    noise_share: Annotated[
        Number,
        "the share of the reward's variance within prompts that equal completions have among themselves; `null` where none came twice on a "
        "prompt whose rewards vary, and where the reward compares the completions of a group",
    ] = None
    flat_reward: Annotated[
        str | None,
        "the flattest of the rewards that `flat-component` is about, by its name in `components`; `null` where there is none",
    ] = None
    errors: Annotated[tuple[ErrorCount, ...], "the most frequent reasons, at most 20"] = ()


@dataclass(frozen=True)
class Summary:
    """A judged run in one object. `summary["counts"]` is the JSON value of a field; `to_json()` all of them."""

    schema_version: Annotated[int, "version of this object and of the tables"] = SCHEMA_VERSION
    source: Annotated[str, "`diagnose`, `inspect` or `watch`"] = ""
    verdict: Annotated[
        str | None,
        "on the set: `proceed`, `warm-up`, `fix-reward`, `fix-data`, `fix-sampling` or `draw-more`; `null` where a log "
        "holds only groups whose rewards differ (`survivors-only`)",
    ] = None
    reason: Annotated[str, "why, in a sentence"] = ""
    rule: Annotated[str, "the rule that fired, with its numbers"] = ""
    n_prompts: Annotated[int, "prompts in the set"] = 0
    counts: Annotated[Counts, "prompts by verdict; the five add up to `n_prompts`"] = Counts()
    fractions: Annotated[Fractions, "the share of the prompts in each state, with 95% limits for `population`"] = Fractions()
    predicted_error: Annotated[Number, "expected share of wrong verdicts among the decided; `null` where none is decided"] = None
    predicted_error_limit: Annotated[
        Number, "upper limit of that share over all sets of prompts that the rewards allow; `null` where some rewards are continuous"
    ] = None
    proved: Annotated[
        int | None,
        "prompts whose verdict no completion that was not seen could make wrong; `null` where the engine does not tell probabilities",
    ] = None
    predicted_error_unproved: Annotated[
        Number, "`predicted_error` of the verdicts that are not proved alone; `null` where none is left, and where `proved` is"
    ] = None
    caveats: Annotated[tuple[str, ...], "sentences: what to know before trusting the numbers"] = ()
    caveat_codes: Annotated[tuple[str, ...], "their [codes](#codes-of-caveats), each once; a sentence about a log's own rows has none"] = ()
    reward: Annotated[RewardSummary, "of the weighted total"] = RewardSummary()
    reward_model: Annotated[
        str,
        "how rewards were modeled: `binary` (the ends of the range), `few-valued`, `continuous`, `zero-inflated`, `mixed` or `none`",
    ] = "none"
    components: Annotated[
        Mapping[str, Component],
        "by reward function: its own value, judged as if it were the only one; empty where there is one function",
    ] = field(default_factory=dict)
    epsilon: Annotated[float, "success probability under which a 0/1 prompt counts as vanishing; from the group size"] = 0.05
    group_size: Annotated[int, "completions per prompt in the planned run"] = 8
    reach_threshold: Annotated[float, "the gap of such a prompt to what is achievable, in its own stds: √((1 − ε)/ε)"] = 0.0
    advantage: Annotated[
        str, "how the planned run uses rewards: `centered` (less a baseline) or `normalized` (these over their group's std)"
    ] = "centered"
    scale: Annotated[
        Number, "what gains and headroom are measured against: the width of the range, or, where that is not known, the typical gain"
    ] = None
    mixed_threshold: Annotated[float, "the probability of a mixed group under which there is no signal"] = 0.0
    gain_threshold: Annotated[
        Number, "the gain of the best of a group under which there is no signal; 0 where advantages are normalized"
    ] = None
    forecast: Annotated[
        Mapping[str, Mixed],
        'by group size, for 4, 8, 16 and 32: `{"informative": …, "lo": …, "hi": …}`, the expected share of groups with two different '
        "rewards: the mean over these prompts, with 90% limits for `population`",
    ] = field(default_factory=dict)
    population: Annotated[
        str,
        "the prompts that the limits of `fractions` and `forecast` are for: `prompts like these`, or, with a column such as task "
        "(`--cluster-col`), `prompts of the same task` or `prompts of a new task`",
    ] = "prompts like these"
    to_train: Annotated[
        ToTrain, "the prompts that are learnable or undecided; of a run that was stopped, those of them that have completions"
    ] = ToTrain()
    generations: Annotated[Completions, "completions"] = Completions()
    drawn: Annotated[
        DrawProgress | None, "how much of what a run planned is there; absent for logs and watched trainings, which plan nothing"
    ] = None
    health: Annotated[Health, "signs that something is wrong before the reward"] = Health()
    steps: Annotated[
        StepsSummary | None, "of a training: the prompts over its steps; absent where the rows say of fewer than two of them"
    ] = None
    gradients: Annotated[Gradients | None, "over the rows of [gradients.parquet](tables.md#gradientsparquet)"] = None
    sampling: Annotated[Mapping[str, object], "temperature, top_p, top_k, max_new_tokens; empty for a log"] = field(default_factory=dict)
    engine: Annotated[
        Mapping[str, object],
        "engine, policy, its fingerprint, dtype, device, package versions, the check at load; empty for a log",
    ] = field(default_factory=dict)
    settings: Annotated[
        Request,
        "the request: `prompts`, `model`, `reward` (a list, one text per reward) or `logs`, `columns` (log column by meaning; a list where "
        "several were added up or joined), `grouped_by` (the log's columns whose values name a prompt), `part_weights` (of a log's several "
        "rewards, as far as they are known), `out`, `target_error`, "
        "`worst_case`, `seed`; `reward_range` as stated or the reward's own; "
        "`component_ranges`, those of several rewards that have one each; `prompt_col`, `prompt_template`, `id_col`, `limit`, "
        "`cluster_col`, `reward_weights`, `reward_timeout_s` where they were not left as they are; `resume`, the further "
        "options that a command needs to resume the run; "
        "and `rescored`, the run whose completions were scored again. What was not asked is absent",
    ] = field(default_factory=Request)
    provenance: Annotated[
        Mapping[str, object],
        "of the run: versions of flatspot, Python, the operating system and packages; when it was started (`created`) and judged "
        "(`judged`), UTC",
    ] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The object that `--json` prints, in JSON's own types."""
        values = fields_to_json(self)
        return {name: value for name, value in values.items() if value is not None or name not in ("drawn", "steps", "gradients")}

    def __getitem__(self, name: str) -> object:
        """The JSON value of a field, as in the object that `--json` prints."""
        return self.to_json()[name]

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Summary:
        """Read `to_json`, of this version or the one before. Raises KeyError, TypeError or ValueError for another object."""
        model = values.get("reward_model", cls.reward_model)
        return fields_from_json(cls, {**values, "reward_model": "binary" if model == "two-valued" else model})
