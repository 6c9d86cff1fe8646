"""From the calls of one reward, or of several that a trainer adds up, to whole rows in a journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flatspot.core.recording import VERSION
from flatspot.rewards.values import Value, describe_exception
from flatspot.training.record.calls import Asked, Call, asked_of, values_of
from flatspot.training.record.journal import Journal
from flatspot.training.say import say

_OPEN_AT_MOST = 16  # batches that wait for another of the rewards

Scored = list[tuple[Value, object]]


@dataclass
class Batch:
    """The completions of one call, and what the rewards gave them so far.

    own  what tells the batch from others: the completions that all rewards are called with
    """

    call: Call
    asked: list[Asked]
    own: object
    scores: dict[str, Scored] = field(default_factory=dict)


class Rollouts:
    """The rows of one recording, in this process or in another that it was pickled for. None of its methods raises."""

    def __init__(self, out: Path, names: tuple[str, ...], weights: Mapping[str, float] | None) -> None:
        self.journal = Journal(out)
        self.names, self.weights = names, weights
        self._open: list[Batch] = []
        self._lock = threading.Lock()
        self._warned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Rollouts, (self.journal.folder, self.names, self.weights)

    def begin(self, name: str, call: Call) -> Batch | None:
        """What a call asks, read before the reward can change it; None where it cannot be read."""
        try:
            if len(self.names) > 1:
                with self._lock:
                    for batch in self._open:
                        if batch.own is call.get("completions") and name not in batch.scores:
                            return batch
            batch = Batch(call, asked_of(call), call.get("completions"))
            if not self._warned and any(row.unnamed for row in batch.asked):
                self._warn(call)
            return batch
        except Exception as error:
            self.journal.trouble(error)
            return None

    def returned(self, name: str, batch: Batch | None, result: object, now: float) -> None:
        """A reward gave values."""
        if batch is None:
            return
        try:
            self._score(name, batch, values_of(batch.call, result, len(batch.asked)), now)
        except Exception as error:
            self.journal.trouble(error)

    def failed(self, name: str, batch: Batch | None, error: BaseException) -> None:
        """A reward raised: its completions have an error, and those of the others, too, where the trainer adds them up."""
        if batch is None:
            return
        try:
            none = Value(error=describe_exception(error))
            self._score(name, batch, [(none, None)] * len(batch.asked), time.time(), ends=True)
        except Exception as trouble:
            self.journal.trouble(trouble)

    def _score(self, name: str, batch: Batch, scored: Scored, now: float, *, ends: bool = False) -> None:
        """Keep the values of one reward; write the batch where all are there."""
        if len(self.names) == 1:
            batch.scores[name] = scored
            self._write(batch, now)
            return
        with self._lock:
            batch.scores[name] = scored
            held = any(other is batch for other in self._open)
            done = ends or len(batch.scores) == len(self.names)
            if done and held:
                self._open = [other for other in self._open if other is not batch]
            elif not done and not held:
                self._open.append(batch)
            late = self._open[:-_OPEN_AT_MOST]
            self._open = self._open[-_OPEN_AT_MOST:]
        for each in [*late, *([batch] if done else [])]:
            self._write(each, now)

    def _write(self, batch: Batch, now: float) -> None:
        rows = []
        for i, asked in enumerate(batch.asked):
            values = {name: batch.scores[name][i] if name in batch.scores else (Value(error="not called"), None) for name in self.names}
            wrong = {name: value.error for name, (value, _) in values.items() if value.error is not None}
            if all(value.number is None for value, _ in values.values()) and not wrong:
                wrong = dict.fromkeys(self.names, "returned None")
            row: dict[str, object] = {VERSION: 1, "time": round(now, 3), **asked.members}
            row["rewards"] = {name: value.number for name, (value, _) in values.items()}
            row["weights"] = self.weights
            row["returned"] = next((beside for _, beside in values.values() if beside is not None), None)
            row["error"] = "; ".join(f"{name}: {why}" for name, why in wrong.items()) or None
            rows.append({name: value for name, value in row.items() if value is not None})
        self.journal.write(rows)

    def _warn(self, call: Call) -> None:
        self._warned = True
        where = "verl passes no prompt" if any(name.startswith("solution_str") for name in call) else "the trainer passes no prompt"
        say(
            f"{where} to a reward, and extra_info has neither an index nor a question: in {self.journal.folder}, prompts with the same "
            'answer count as one. Add one to the data set\'s extra_info, as in {"index": 7}.'
        )
