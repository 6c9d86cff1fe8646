"""What later stages of a recipe read of the results of earlier ones: a stage.json that lacks it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DiagnosisResult:
    """Of a diagnosis: the verdict on the set, why, and completions sampled."""

    verdict: str | None
    reason: str
    generations: int


@dataclass(frozen=True)
class PlanResult:
    """Of a plan: `labels` of `flatspot plan --json`, without `chosen`."""

    labels: Mapping[str, object]


@dataclass(frozen=True)
class PolicyResult:
    """Of a stage that trains: where the policy is, relative to the folder of the stage or absolute."""

    checkpoint: str


@dataclass(frozen=True)
class Alarm:
    """An alarm of a training, in short."""

    cause: str


@dataclass(frozen=True)
class TrainingResult:
    """Of RL: updates, completions sampled, alarms."""

    steps: int
    generations: int
    alarms: tuple[Alarm, ...]
