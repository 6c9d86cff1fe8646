"""What a plan comes to: the object that `flatspot plan --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from flatspot.core.json_tree import fields_to_json
from flatspot.core.plain import Json
from flatspot.core.schema import SCHEMA_VERSION

Number = float | None


@dataclass(frozen=True)
class Interval:
    """A number with its 90% limits."""

    mean: Annotated[Number, "the estimate; `null` where no group is expected to be mixed"] = None
    lo: Annotated[Number, "lower 90% limit"] = None
    hi: Annotated[Number, "upper 90% limit; `null` where there is none"] = None


@dataclass(frozen=True)
class SizeForecast:
    """Mixed groups at one group size."""

    informative: Annotated[Number, "expected share of mixed groups"] = None
    lo: Annotated[Number, "lower 90% limit"] = None
    hi: Annotated[Number, "upper 90% limit"] = None
    rollouts_per_informative: Annotated[Number, "expected completions per mixed group"] = None


@dataclass(frozen=True)
class SizeAdvice:
    """The recommended group size."""

    share: Annotated[float, "`--share`"] = 0.5
    reached: Annotated[bool, "whether any group size reaches that share"] = False
    group_size: Annotated[int, "the smallest size that reaches it, else the largest one considered"] = 0
    informative: Annotated[Number, "its expected share of mixed groups"] = None
    lo: Annotated[Number, "lower 90% limit"] = None
    hi: Annotated[Number, "upper 90% limit"] = None
    completions: Annotated[int, "completions for one pass over the prompts"] = 0
    tokens: Annotated[int | None, "tokens in them"] = None


@dataclass(frozen=True)
class BatchCost:
    """What a training batch of mixed groups takes."""

    informative_groups: Annotated[int, "`--batch`: mixed groups in a training batch"] = 0
    groups: Annotated[Interval, "groups to sample"] = Interval()
    rollouts: Annotated[Interval, "completions to sample"] = Interval()
    tokens: Annotated[Number, "tokens in them, on average"] = None
    gen_batch: Annotated[int, "`--gen-batch`"] = 0
    max_gen_batches: Annotated[int, "`--max-gen-batches`"] = 0
    stall: Annotated[Number, "probability that a dynamic sampler with this limit does not fill the batch"] = None


@dataclass(frozen=True)
class Answers:
    """Answers that the prompts already have."""

    column: Annotated[str, "the column of the prompts"]
    n: Annotated[int, "selected prompts with an answer there"]


@dataclass(frozen=True)
class Reward:
    """An amount of mean reward."""

    mean: Annotated[float, "the estimate"] = 0.0
    lo: Annotated[float, "lower 95% limit"] = 0.0
    hi: Annotated[float, "upper 95% limit"] = 0.0


@dataclass(frozen=True)
class Actions:
    """Prompts by what to do with them."""

    label: Annotated[int, "label"] = 0
    train: Annotated[int, "train on by RL"] = 0
    drop: Annotated[int, "drop: solved"] = 0
    defer: Annotated[int, "diagnose again after the warm-up"] = 0
    fix: Annotated[int, "fix the reward first: unscored"] = 0


@dataclass(frozen=True)
class SelectedLabel:
    """A prompt to label."""

    order: Annotated[int, "its place, from 1"]
    prompt_id: Annotated[str, "its id"]
    covers: Annotated[float, "share of what the vanishing prompts lack that it covers, beyond the labels before it"]
    gain: Annotated[Number, "the same of the mean reward: this share of `ceiling`; `null` where that is"]
    reason: Annotated[str, "why it was selected"]


@dataclass(frozen=True)
class LabelSummary:
    """Which prompts to label."""

    strategy: Annotated[str, "`--strategy`"]
    seed: Annotated[int, "`--seed`"]
    asked: Annotated[int | None, "requested number of labels; `null` where it was left open"]
    asked_share: Annotated[str | None, "`--labels` where it is a share, such as `5%`"]
    n_prompts: Annotated[int, "prompts of the run"]
    limit: Annotated[int | None, "`--limit` of the run"]
    n: Annotated[int, "selected prompts"]
    answers: Annotated[Answers | None, "answers that the prompts already have; `null` where there are none"]
    vanishing: Annotated[int, "vanishing prompts"]
    compared: Annotated[int, "vanishing prompts that were compared with each other"]
    recommended: Annotated[int, "recommended number of labels"]
    most: Annotated[int, "the largest number that is ever recommended"]
    coverage: Annotated[float, "share of what the vanishing prompts lack that the labels cover"]
    curve: Annotated[Mapping[str, float], "the same by number of labels"]
    ceiling: Annotated[
        Reward | None,
        "upper bound on the gain in mean reward, if every vanishing prompt came to earn the most it can; `null` where nobody states what "
        "that is (neither a range nor real answers), or where a log holds survivors only, so that nobody knows how many prompts vanish",
    ]
    ceiling_unknown: Annotated[
        str | None, "why `ceiling` is `null`: `range`, as nobody states what a prompt can earn, or `survivors-only`; else `null`"
    ]
    gain: Annotated[Reward | None, "the part of it that the labels cover"]
    actions: Annotated[Actions, "prompts by what to do with them"]
    samples: Annotated[
        Mapping[str, int],
        "prompts to train on, by the smallest group size at which their groups are mixed often enough; `more`: none up to 128",
    ]
    chosen: Annotated[tuple[SelectedLabel, ...], "the prompts to label, in order"]

    def to_json(self) -> dict[str, Json]:
        """Its JSON object."""
        return fields_to_json(self)

    def __getitem__(self, name: str) -> Any:
        """The JSON value of a field."""
        return self.to_json()[name]


@dataclass(frozen=True)
class PlanSummary:
    """A plan in one object; `summary["labels"]` is the JSON value of a field."""

    run: Annotated[str, "the run folder"]
    n_prompts: Annotated[int, "prompts of the run"]
    completions_per_prompt: Annotated[float, "completions per prompt, on average"]
    tokens_per_completion: Annotated[Number, "mean length of a completion"]
    reward_model: Annotated[str, "as in the run's own summary"]
    group_size: Annotated[int, "completions per prompt in the planned RL run"]
    forecast: Annotated[Mapping[str, SizeForecast], "by group size: mixed groups"]
    recommended: Annotated[SizeAdvice, "the recommended group size"]
    batch: Annotated[BatchCost, "what a training batch takes"]
    caveats: Annotated[tuple[str, ...], "the caveats of the run"]
    labels: Annotated[LabelSummary | None, "which prompts to label"] = None
    schema_version: Annotated[int, "version of this object and of the tables"] = SCHEMA_VERSION

    def to_json(self) -> dict[str, Json]:
        """The object that `flatspot plan --json` prints, in JSON's own types."""
        values = fields_to_json(self)
        first: dict[str, Json] = {"schema_version": values.pop("schema_version")}
        return first | {name: value for name, value in values.items() if value is not None or name != "labels"}

    def __getitem__(self, name: str) -> Any:
        """The JSON value of a field."""
        return self.to_json()[name]
