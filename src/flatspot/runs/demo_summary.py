"""What `flatspot demo --train` comes to: its results.json, which `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from flatspot.core.json_tree import fields_from_json, fields_to_json
from flatspot.core.plain import Json


@dataclass(frozen=True)
class DemoSize:
    """How much is done."""

    prompts: Annotated[int, "prompts of the task; 5% of them get a label, at least one"] = 400
    rl_steps: Annotated[int, "updates of each RL run, 64 completions in 8 groups each"] = 60
    sft_steps: Annotated[int, "maximum number of steps of the warm-up"] = 100
    samples: Annotated[int, "completions per prompt when a trained policy is measured"] = 8

    @property
    def labels(self) -> int:
        """5% of the prompts."""
        return max(1, self.prompts // 20)


@dataclass(frozen=True)
class DemoPolicy:
    """A policy of the demo, measured, and what it took."""

    name: Annotated[str, "its name"]
    labels: Annotated[int, "labels"]
    sft_steps: Annotated[int, "steps of the warm-up"]
    generations: Annotated[int, "completions that RL, or the probes of the warm-up, sampled"]
    reward: Annotated[float, "mean reward"]
    learnable: Annotated[float, "share of learnable prompts"]
    vanishing: Annotated[float, "share of vanishing prompts"]
    solved: Annotated[float, "share of solved prompts"]
    seconds: Annotated[float, "time"]
    why: Annotated[str | None, "of the warm-up: why it stopped"] = None

    def to_json(self) -> dict[str, Json]:
        """Its JSON object; `why` only where there is one."""
        return {name: value for name, value in fields_to_json(self).items() if name != "why" or value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> DemoPolicy:
        """Read `to_json`."""
        return fields_from_json(cls, values)


@dataclass(frozen=True)
class DemoResults:
    """The results of `flatspot demo --train`."""

    task: Annotated[str, "the task"]
    size: Annotated[DemoSize, "how much was done"]
    seed: Annotated[int, "seed of the trainings"]
    rows: Annotated[tuple[DemoPolicy, ...], "the policies, in order"]
    policy: Annotated[str, "folder of the last policy"]
    seconds: Annotated[float, "time in all"]
    provenance: Annotated[Mapping[str, object], "versions and time, as in the summary of a run"]

    def to_json(self) -> dict[str, Json]:
        """The object in results.json, in JSON's own types."""
        return fields_to_json(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> DemoResults:
        """Read `to_json`. Raises KeyError, TypeError or ValueError for another object."""
        return fields_from_json(cls, values)
