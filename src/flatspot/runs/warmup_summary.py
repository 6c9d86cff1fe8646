"""What a warm-up comes to: the objects that `flatspot warmup --json` and `flatspot watch-checkpoints --json` print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flatspot.core.json_tree import Key, fields_to_json
from flatspot.core.plain import Json
from flatspot.runs.recipe_summary import CurveRow


@dataclass(frozen=True)
class WarmupSummary:
    """A finished warm-up."""

    chosen_step: Annotated[int, "step of the selected checkpoint; 0: the initial policy; −1: there were no probes"]
    cause: Annotated[
        str,
        "why it stopped: `plateau`, `enough`, `max-steps`, `never-recovered`, `labels-solved`, `nothing-vanishes`, `entropy`, "
        "`held-out-loss`, `prompts-lost`, `not-a-number`, `interrupted`",
    ]
    why: Annotated[str, "the same in a sentence"]
    recovered: Annotated[bool, "whether mean pass@K is higher than at the start, beyond noise"]
    policy: Annotated[str, "the folder to start RL from"]
    labels: Annotated[int, "labels in the training"]
    held_out: Annotated[int, "labels held out for their loss", Key("held_back")]
    generations: Annotated[int, "completions that the probes sampled"]
    seconds: Annotated[float, "time in all"]
    notes: Annotated[tuple[str, ...], "notes on the labels"]
    next: Annotated[
        tuple[str, ...],
        "the commands that diagnose the policy and start RL from it; where mean pass@K has not risen, what to fix first",
    ]
    curve: Annotated[tuple[CurveRow, ...], "the rows of `curve.json`, one per probe"]

    def to_json(self) -> dict[str, Json]:
        """The object that `flatspot warmup --json` prints, in JSON's own types."""
        return fields_to_json(self)


@dataclass(frozen=True)
class WatchSummary:
    """The stop rule over the checkpoints of another trainer."""

    stop: Annotated[bool, "whether the stop rule ends the training here"]
    chosen_step: Annotated[int, "step of the selected checkpoint; 0: the initial policy"]
    why: Annotated[str, "why, in a sentence"]
    cause: Annotated[str, "the same as a code, as above; `going-on` while the training should continue"]
    recovered: Annotated[bool, "whether mean pass@K is higher than at the start, beyond noise"]
    checkpoint: Annotated[str | None, "folder of the selected checkpoint; `null` for the initial policy"]
    curve: Annotated[tuple[CurveRow, ...], "the rows of `curve.json`, one per probe"]

    def to_json(self) -> dict[str, Json]:
        """The object that `flatspot watch-checkpoints --json` prints, in JSON's own types."""
        return fields_to_json(self)
