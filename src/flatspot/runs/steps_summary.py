"""What a training's steps come to: the key `steps` of a run's summary. Each field says what it means, for docs/reference/json.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

Number = float | None


@dataclass(frozen=True)
class WindowShare:
    """A share of the prompts drawn in a window, with its 95% limits."""

    mean: Annotated[Number, "the estimate; `null` where the log holds survivors only"] = None
    lo: Annotated[Number, "lower 95% limit"] = None
    hi: Annotated[Number, "upper 95% limit"] = None


@dataclass(frozen=True)
class StepWindow:
    """A window of a training's steps, judged as if one policy had drawn it."""

    first: Annotated[int, "its first step"]
    last: Annotated[int, "its last step"]
    n_prompts: Annotated[int, "prompts drawn in it"]
    completions: Annotated[int, "their scored completions in it"]
    vanishing: Annotated[WindowShare, "share of them in this state"] = WindowShare()
    learnable: Annotated[WindowShare, "likewise"] = WindowShare()
    solved: Annotated[WindowShare, "likewise"] = WindowShare()


@dataclass(frozen=True)
class StateChange:
    """How many prompts went from one state to another."""

    before: Annotated[str, "the state at the start: the likelier one, where it is undecided"]
    after: Annotated[str, "the state at the end"]
    count: Annotated[int, "prompts whose rewards changed and that went this way"]


@dataclass(frozen=True)
class Stopped:
    """Prompts that are no longer drawn."""

    count: Annotated[int, "how many, of which at most 5% are expected to be chance"] = 0
    n_drawn: Annotated[int, "prompts that were drawn at all"] = 0
    first_step: Annotated[int | None, "the earliest of the steps at which one of them was drawn last"] = None
    median_step: Annotated[int | None, "the median of these steps"] = None
    mean_std: Annotated[Number, "mean of their reward stds when last drawn"] = None
    equal_low: Annotated[int, "how many had equal rewards then, nearer the bottom of the range"] = 0
    equal_high: Annotated[int, "how many had equal rewards then, nearer its top"] = 0


@dataclass(frozen=True)
class StepsSummary:
    """A training over its steps, evaluations left out."""

    n_steps: Annotated[int, "steps with a scored completion"]
    windows: Annotated[tuple[StepWindow, ...], "windows of equally many steps, each judged by itself"] = ()
    start: Annotated[tuple[int, int], "the steps of the first third of the windows"] = (0, 0)
    end: Annotated[tuple[int, int], "those of the last third"] = (0, 0)
    n_compared: Annotated[int | None, "prompts drawn in both; `null` where the log holds survivors only"] = None
    n_changed: Annotated[int | None, "those of them whose rewards changed, of which at most 5% are expected to be chance"] = None
    changes: Annotated[tuple[StateChange, ...], "those of them whose state changed, the most frequent change first"] = ()
    stopped: Annotated[Stopped, "prompts that are no longer drawn: filtered, or out of a curriculum"] = Stopped()
