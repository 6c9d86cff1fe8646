"""What a recipe comes to: the object that `flatspot run --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from flatspot.core.json_tree import Key, fields_from_json, fields_to_json
from flatspot.core.plain import Json
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.runs.summary import Counts, Fractions, Number, Share

CurveRow = Mapping[str, object]
"""A row of a warm-up's curve.json."""


@dataclass(frozen=True)
class PolicyReward:
    """The reward of a diagnosed policy."""

    mean: Annotated[Number, "mean over prompts of their mean rewards"] = None
    lo: Annotated[Number, "lower 95% limit"] = None
    hi: Annotated[Number, "upper 95% limit"] = None
    std: Annotated[Number, "mean of the within-prompt stds"] = None


@dataclass(frozen=True)
class PolicySummary:
    """A diagnosis of a policy."""

    folder: Annotated[str, "its run folder"] = ""
    verdict: Annotated[str | None, "the verdict on the set"] = None
    fractions: Annotated[Fractions, "as in the run's own summary"] = field(default_factory=Fractions)
    counts: Annotated[Counts, "as in the run's own summary"] = field(default_factory=Counts)
    reward: Annotated[PolicyReward, "mean reward with its 95% limits, and mean reward std"] = PolicyReward()
    generations: Annotated[int, "completions sampled"] = 0


@dataclass(frozen=True)
class Gain:
    """Mean reward after RL minus that of another policy, paired by prompt."""

    over_before: Annotated[Share | None, "the initial policy"] = None
    over_warmed: Annotated[Share | None, "the policy after the warm-up"] = None
    over_alone: Annotated[Share | None, "the policy after RL alone"] = None


@dataclass(frozen=True)
class WarmupOutcome:
    """The warm-up of a recipe."""

    chosen_step: Annotated[int, "step of the selected checkpoint"]
    steps: Annotated[int | None, "step at which it stopped"]
    labels: Annotated[int, "labels in all"]
    learned: Annotated[int, "labels in the training; the others were held out", Key("learnt")]
    generations: Annotated[int, "completions that its probes sampled"]
    why: Annotated[str, "why it stopped"]
    cause: Annotated[str, "the same as a code"]
    recovered: Annotated[bool, "whether mean pass@K is higher than at the start, beyond noise"]
    curve: Annotated[tuple[CurveRow, ...], "the rows of curve.json"]
    notes: Annotated[tuple[str, ...], "notes on the labels"]


@dataclass(frozen=True)
class RewardPoint:
    """A point of the reward curve of RL."""

    step: Annotated[int, "update"] = 0
    generations: Annotated[int, "completions sampled up to it, probes of the warm-up included"] = 0
    reward: Annotated[Number, "mean reward of its completions"] = None
    lo: Annotated[Number, "lower 95% limit"] = None
    hi: Annotated[Number, "upper 95% limit"] = None


@dataclass(frozen=True)
class Cost:
    """What a stage, or several, took."""

    labels: Annotated[int | None, "labels in the training"] = None
    steps: Annotated[int | None, "updates"] = None
    generations: Annotated[int | None, "completions sampled"] = None
    seconds: Annotated[Number, "time"] = None


@dataclass(frozen=True)
class StageCost:
    """What a stage took."""

    stage: Annotated[str, "its name"] = ""
    labels: Annotated[int | None, "labels in the training"] = None
    steps: Annotated[int | None, "updates"] = None
    generations: Annotated[int | None, "completions sampled"] = None
    seconds: Annotated[Number, "time"] = None


@dataclass(frozen=True)
class StageFolder:
    """Where a stage is."""

    stage: Annotated[str, "its name"] = ""
    folder: Annotated[str, "its folder"] = ""
    seconds: Annotated[float, "time of the run that finished it"] = 0.0
    reused: Annotated[bool, "whether it was finished before"] = False


@dataclass(frozen=True)
class RecipeSummary:
    """A finished recipe in one object; `summary["gain"]` is the JSON value of a field."""

    schema_version: Annotated[int, "version of this object and of the tables"] = SCHEMA_VERSION
    source: Annotated[str, "`run`"] = "run"
    n_prompts: Annotated[int, "prompts"] = 0
    reward_range: Annotated[tuple[float, float], "range of the reward"] = (0.0, 1.0)
    reward_model: Annotated[str, "of the first diagnosis, as in its summary"] = "none"
    epsilon: Annotated[float, "as in the summary of a run"] = 0.05
    reach_threshold: Annotated[float, "as in the summary of a run"] = 0.0
    fewest_completions: Annotated[int | None, "the smallest number of scored completions of a prompt with a reward std"] = None
    policies: Annotated[Mapping[str, PolicySummary], "by diagnosis (`before`, `warmed`, `after`, `after-alone`): the policy in short"] = (
        field(default_factory=dict)
    )
    moves: Annotated[
        Mapping[str, Mapping[str, Mapping[str, int]]], "by later diagnosis: prompts by their verdict before and their verdict then"
    ] = field(default_factory=dict)
    gain: Annotated[Gain, "mean reward after RL minus that of another policy, with 95% limits over the prompts, paired"] = Gain()
    plan: Annotated[
        Mapping[str, object] | None, "`labels` of `flatspot plan`, without `chosen`; `null` where the labels came from a file"
    ] = None
    warmup: Annotated[WarmupOutcome | None, "the warm-up; `null` without one"] = None
    rewards: Annotated[Mapping[str, tuple[RewardPoint, ...]], "by stage (`train`, `train-alone`): the reward curve of RL"] = field(
        default_factory=dict
    )
    cost: Annotated[tuple[StageCost, ...], "a row per stage"] = ()
    training_cost: Annotated[Mapping[str, Cost], "sums with the warm-up and without it, where both were run"] = field(default_factory=dict)
    alarms: Annotated[Mapping[str, tuple[Mapping[str, object], ...]], "by stage of RL: the alarms of watch.json"] = field(
        default_factory=dict
    )
    caveats: Annotated[tuple[str, ...], "sentences: what to consider before relying on the numbers"] = ()
    settings: Annotated[Mapping[str, object], "prompts, model, reward, out, algorithm and seed of the recipe"] = field(default_factory=dict)
    stages: Annotated[tuple[StageFolder, ...], "the stages, in order"] = ()
    provenance: Annotated[
        Mapping[str, object], "versions of flatspot, Python, the operating system and packages; when it ran (`created`)"
    ] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The object that `flatspot run --json` prints, in JSON's own types."""
        return fields_to_json(self)

    def __getitem__(self, name: str) -> Any:
        """The JSON value of a field."""
        return self.to_json()[name]

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> RecipeSummary:
        """Read `to_json`. Raises KeyError, TypeError or ValueError for another object."""
        return fields_from_json(cls, values)
