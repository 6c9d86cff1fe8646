"""What a comparison of two runs comes to: the object that `flatspot compare --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from flatspot.core.json_tree import fields_to_json
from flatspot.core.plain import Json
from flatspot.core.schema import SCHEMA_VERSION
from flatspot.runs.summary import Fractions, Number


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs."""

    run: Annotated[str, "its folder"]
    verdict: Annotated[str | None, "the verdict on the set"]
    n_prompts: Annotated[int, "prompts in the set"]
    source: Annotated[str, "`diagnose`, `inspect` or `watch`"]
    model: Annotated[str | None, "the model as it was requested"]
    reward: Annotated[tuple[str, ...] | None, "the rewards as they were requested"]
    reward_range: Annotated[tuple[float, float], "the range in which rewards were judged"]
    completions_per_prompt: Annotated[float, "completions per prompt, on average"]
    fractions: Annotated[Fractions, "as in the run's own summary"]


@dataclass(frozen=True)
class PairCounts:
    """Prompts that both runs have."""

    n: Annotated[int, "pairs"]
    by: Annotated[str, "`--pair-by`"]
    by_id: Annotated[int, "paired by id"]
    by_text: Annotated[int, "paired by text"]
    only_a: Annotated[int, "prompts that only run A has"]
    only_b: Annotated[int, "prompts that only run B has"]
    other_text: Annotated[int, "ids that belong to different texts in the two runs"]


@dataclass(frozen=True)
class GroupSizes:
    """The groups that `mixed` and `std` are of."""

    smallest: Annotated[int | None, "size of the smallest; `null` where no prompt has two scored completions in both runs"]
    largest: Annotated[int | None, "size of the largest"]


@dataclass(frozen=True)
class ChangeLimits:
    """A mean over prompts in both runs."""

    before: Annotated[Number, "in A"]
    after: Annotated[Number, "in B"]
    change: Annotated[Number, "the difference"]
    lo: Annotated[Number, "its lower 95% limit"]
    hi: Annotated[Number, "its upper 95% limit"]
    n: Annotated[int, "prompts"]


@dataclass(frozen=True)
class ChangedPrompt:
    """A prompt of both runs, as a row of `Comparison.prompts`."""

    prompt_id: Annotated[str, "its id in A"]
    prompt_id_b: Annotated[str, "its id in B"]
    prompt: Annotated[str, "its text; of a chat, the messages as JSON"]
    is_chat: Annotated[bool, "whether it is a chat"]
    verdict_a: Annotated[str, "its verdict in A"]
    mean_a: Annotated[Number, "its mean reward in A"]
    n_scored_a: Annotated[int, "its scored completions in A"]
    verdict_b: Annotated[str, "its verdict in B"]
    mean_b: Annotated[Number, "its mean reward in B"]
    n_scored_b: Annotated[int, "its scored completions in B"]
    change: Annotated[Number, "the change in its mean reward"]
    change_lo: Annotated[Number, "lower 95% limit of that"]
    change_hi: Annotated[Number, "upper 95% limit of that"]


@dataclass(frozen=True)
class OnlyIn:
    """Prompts that one run has and the other does not."""

    a: Annotated[tuple[str, ...], "ids of the first ten in A"]
    b: Annotated[tuple[str, ...], "ids of the first ten in B"]


@dataclass(frozen=True)
class ComparisonSummary:
    """Two runs, compared; `summary["pairs"]` is the JSON value of a field."""

    a: Annotated[ComparedRun, "the first run"]
    b: Annotated[ComparedRun, "the second run"]
    differs: Annotated[tuple[str, ...], "names of the settings that differ"]
    pairs: Annotated[PairCounts, "prompts of both runs"]
    transitions: Annotated[Mapping[str, Mapping[str, int]], "pairs by verdict in A and verdict in B"]
    changed_verdicts: Annotated[int, "pairs whose verdicts differ"]
    changed_by_error: Annotated[float, "expected number of pairs with a wrong verdict in A or in B"]
    group_size: Annotated[int, "completions per prompt in the planned RL run"]
    smaller_groups: Annotated[int, "prompts with fewer scored completions in a run (two or more): their groups for `mixed` are smaller"]
    sizes: Annotated[GroupSizes, "sizes of the groups in `mixed`"]
    mean: Annotated[ChangeLimits, "mean reward"]
    std: Annotated[ChangeLimits, "reward std"]
    mixed: Annotated[ChangeLimits, "share of mixed groups"]
    rose: Annotated[int, "prompts whose mean reward rose by more than their own 95% limits"]
    fell: Annotated[int, "prompts whose mean reward fell by more than their own 95% limits"]
    most_changed: Annotated[tuple[ChangedPrompt, ...], "the ten prompts with the most certain change, as rows of `Comparison.prompts`"]
    alone: Annotated[OnlyIn, "prompts that only one run has"]
    caveats: Annotated[tuple[str, ...], "sentences: what could make the comparison misleading"] = ()
    schema_version: Annotated[int, "version of this object and of the tables"] = SCHEMA_VERSION

    def to_json(self) -> dict[str, Json]:
        """The object that `flatspot compare --json` prints, in JSON's own types."""
        values = fields_to_json(self)
        return {"schema_version": values.pop("schema_version"), **values}

    def __getitem__(self, name: str) -> Any:
        """The JSON value of a field."""
        return self.to_json()[name]
