"""Record the calls of reward functions: the rows of every generation batch in a run folder, its metrics in the trainer's log.

Rows are collected in memory and written as complete parts, `rollouts/part-RANK-NUMBER.parquet`, whenever the time spent on writing is
under `WRITING_SHARE` of the time passed: a killed run loses the rows of its last seconds if steps are short, and none if they are long.
Nothing here may end a training: a failure is reported once, and the operation is tried again with the next batch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from flatspot.core.plain import Json
from flatspot.core.records import Prompt, PromptText
from flatspot.rollouts.parts import part_file
from flatspot.rollouts.prompts import prompt_table
from flatspot.rollouts.store import RunFolder, write_json, write_table
from flatspot.stats.evidence import Floats
from flatspot.stats.groups import weighted_total
from flatspot.training.ranks import gather
from flatspot.training.say import say
from flatspot.training.watch.batches import LocalRows, OpenBatch, ScoredBatch, Sent, batch_of, local_rows, short
from flatspot.training.watch.calls import Call, Rows, Value, by_position, numbers_of, read_rows, step_of
from flatspot.training.watch.live import Live
from flatspot.training.watch.rows import ScoredRows, rollout_table
from flatspot.training.watch.trainer_facts import Total, Trainer, all_watched, log_late, read_trainer, rewards_from_log, trainer_of

WRITING_SHARE = 0.002
_BATCHES_AT_MOST = 500
_MESSAGES_AT_MOST = 3


@dataclass
class Recorder:
    """One watched run, in one process.

    names       of the watched components
    folder      the open run folder, in the first process only
    prompts     every prompt so far, with its number; equal in all processes
    counts      completions of each prompt so far
    stored      number of prompts in prompts.parquet
    total       every reward that the trainer sums; before the trainer is known, the watched ones
    alarms      number of active alarms
    caveats     limits of the data that every reader of the run folder must know
    older       the parts that existed when the watch was opened; None once a training has begun
    waiting     rows that are not written yet
    spent       seconds spent on watching, including writing
    """

    path: Path
    names: tuple[str, ...]
    live: Live
    folder: RunFolder | None
    rank: int
    part: int = 0
    trainer: Trainer = field(default_factory=Trainer)
    prompts: dict[str, tuple[int, Prompt]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    total: Total = field(default_factory=lambda: all_watched(()))
    alarms: int = 0
    caveats: list[str] = field(default_factory=list)
    older: frozenset[str] | None = frozenset()
    waiting: list[ScoredRows] = field(default_factory=list)
    stored: int = 0
    batches: int = 0
    spent: float = 0.0
    _written: float = 0.0
    _started: float | None = None
    _open: OpenBatch | None = None
    _closed: object = None
    _late: ScoredBatch | None = None
    _steps: tuple[int, int] = (0, 1)
    _n_gathers: int = 0
    _off: bool = False
    _alone: bool = False  # another process is gone
    _messages: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.total = all_watched(self.names)

    def record(self, component: int, raw: Sequence[Value], call: Call, row_errors: Sequence[str | None] = ()) -> None:
        """Record the values that a reward function returned, and its errors of rows if it has any; never raises."""
        began = time.perf_counter()
        self._started = self._started or began
        now = self._batch(call)
        if now is not None:
            try:
                values, errors = numbers_of(self.names[component], raw)
                now.errors[component] = [own or error for own, error in zip(row_errors, errors, strict=True)] if row_errors else errors
                now.values[component] = values
            except Exception as error:
                now.trouble = short(error)
            self._close_if_complete(now, component)
        self.spent += time.perf_counter() - began

    def record_failure(self, component: int, error: BaseException, call: Call) -> None:
        """A reward function raised, which ends the training: all processes receive these rows with the error, and write at once."""
        now = self._batch(call)
        if now is None:
            return
        try:
            now.errors[component] = [f"{self.names[component]}: {type(error).__name__}: {str(error)[:300]}"] * len(call["completions"])
        except Exception as trouble:
            now.trouble = short(trouble)
        now.failed = True
        self._closed = call.get("completions")
        self._close(now)
        self.settle(is_scored=False)
        self.flush(force=True)

    def settle(self, *, is_scored: bool = True) -> None:
        """Finish a batch whose total includes rewards that are not watched, after the trainer has scored it; never raises."""
        late, self._late = self._late, None
        if late is None:
            return
        try:
            parts = rewards_from_log(self.trainer.itself, self.total, late) if is_scored else None
            if parts is None:
                self.caveat(
                    f"The trainer adds rewards that are not watched ({', '.join(self.total.others)}), and their values cannot be "
                    "read from it: these completions have no total, and their groups are not judged. Watch all reward functions; for a "
                    "reward model, watch a function that calls it."
                )
                self._keep(late, late.batch.parts, np.full(late.batch.parts.shape[1], math.nan))
                return
            log_late(self.trainer.itself, self._absorb(late, parts), is_eval=late.batch.is_eval)
        except Exception as error:
            self._trouble(error)

    def caveat(self, text: str) -> None:
        """Report a limit of the data in the run folder, once, and store it there."""
        if text not in self.caveats:
            self.caveats.append(text)
            self.note(caveats=self.caveats)
            if self.rank == 0:
                say(text)

    def flush(self, *, force: bool = False) -> None:
        """Write the waiting rows as one part, if `force` is set or writing has taken little time so far; never raises."""
        began = time.perf_counter()
        affordable = 0 < self._written <= WRITING_SHARE * (began - (self._started or began)) or self._written == 0 < self.batches - 3
        force |= len(self.waiting) > _BATCHES_AT_MOST
        # rows whose prompts the first process has not stored would have none if it is killed, and have none if it was
        ready = [rows for rows in self.waiting if (force and not self._alone) or self.rank == 0 or rows.known <= self.stored]
        if not (ready and (force or affordable)):
            return
        try:
            if self.folder is not None and self.stored < len(self.prompts):
                table = prompt_table([prompt for _, prompt in self.prompts.values()], [None] * len(self.prompts))
                write_table(table, self.path / "prompts.parquet")
                self.stored = len(self.prompts)
            (file := part_file(self.path, self.rank, self.part)).parent.mkdir(parents=True, exist_ok=True)  # may be another disk
            write_table(rollout_table(ready, self.total.names, self.trainer.policy), file)
            self.waiting, self.part = self.waiting[len(ready) :], self.part + 1
        except Exception as error:
            self._trouble(error)
            self.waiting = self.waiting[-_BATCHES_AT_MOST:]
        self._written += time.perf_counter() - began

    def note(self, **facts: object) -> None:
        """Add to notes.json, which `flatspot inspect` reads; never raises."""
        file = self.path / "notes.json"
        self.write(file.name, lambda: (json.loads(file.read_text("utf-8")) if file.exists() else {}) | facts)

    def write(self, name: str, facts: Callable[[], Mapping[str, object]]) -> None:
        """Write a JSON file of the run folder, in the process that has it open; never raises."""
        try:
            if self.folder is not None:
                write_json(facts(), self.path / name)
        except Exception as error:
            self._trouble(error)

    def release(self) -> None:
        """Write the remaining rows, and unlock the folder for another writer."""
        self.settle()
        self.flush(force=True)
        if self.folder is not None:
            self.folder.lock.close()

    def _batch(self, call: Call) -> OpenBatch | None:
        """The batch of a call; None if it is closed, because one of its functions raised or recording has ended."""
        completions = call.get("completions")
        if self._off or (completions is not None and completions is self._closed):
            return None
        if self._open is None or self._open.call.get("completions") is not completions:
            if self._open is not None:
                missing = ", ".join(name for i, name in enumerate(self.names) if i not in self._open.returned)
                self._trouble(f"{missing} was not called for a batch: pass every function that watch returned to the trainer")
            self.settle()
            self._read_trainer(call)
            self._open = OpenBatch(call)
        return self._open

    def _read_trainer(self, call: Call) -> None:
        """Read from the trainer, at its first call, which rewards it sums and how."""
        trainer = trainer_of(call)
        if trainer is None or trainer is self.trainer.itself:
            return
        try:
            self.flush(force=True)  # earlier rows have other components
            self.total, scoring = read_trainer(self.trainer, trainer, self, self.names)
            self.live.score_as(self.total.names, scoring)
        except Exception as error:
            self._trouble(error)

    def _close_if_complete(self, now: OpenBatch, component: int) -> None:
        now.returned.add(component)
        # if the trainer has none of the watched functions itself, the user's own functions call them, and all are waited for
        if now.returned >= ({i for i, place in enumerate(self.total.place) if place is not None} or set(range(len(self.names)))):
            self._close(now)
            self.flush(force=self._is_last(now.call))

    def _close(self, now: OpenBatch) -> None:
        """Combine the rows of all processes; every process does so exactly once per batch, even if its own rows are unusable."""
        self._open, trouble = None, now.trouble
        if None in self.total.place:  # a function that the trainer does not call itself may still be called for this batch
            self._closed = now.call.get("completions")
        try:
            rows, errors, local = self._local(now) if trouble is None else (None, [], None)
        except Exception as error:
            rows, errors, local, trouble = None, [], None, short(error)
        try:
            shared = gather(Sent(self._n_gathers, trouble, local, now.failed, self.stored))
            self._n_gathers, self.stored = self._n_gathers + 1, shared[0].stored
        except Exception as error:
            self._off = self._alone = True
            self._trouble(error)
            return
        if len({sent.number for sent in shared}) > 1:
            self._off = True
            self._trouble("the processes do not call the reward functions equally often", shared=True)
            return
        try:
            troubles = [sent.trouble for sent in shared if sent.trouble is not None]
            if troubles or rows is None:
                self._trouble(troubles[0], shared=True)
            else:
                self._combine(now.call, rows, errors, [sent.rows for sent in shared if sent.rows is not None])
            if any(sent.failed for sent in shared) and not now.failed:  # this process is about to be ended
                self.flush(force=True)
        except Exception as error:
            self._trouble(error)

    def _local(self, now: OpenBatch) -> tuple[Rows, list[str | None], LocalRows]:
        """(this process's rows, their errors, the rows to send to the other processes)."""
        size = self.trainer.group_size[self.trainer.is_eval]
        rows = read_rows(now.call, self.trainer.ends)
        if rows.opaque:
            rows = by_position(rows, size, self.rank * len(rows.ids), f"{step_of(now.call)[0]} {self.batches}")
            self.caveat(
                f"The prompts contain objects without comparable content ({', '.join(rows.opaque)}): completions are grouped by their "
                "position in the batch, and a repeated prompt counts as a new one. Use PIL images, arrays or bytes for pictures."
            )
        errors, local = local_rows(now, rows, self.total.place, len(self.total.names), self.prompts)
        return rows, errors, local

    def _combine(self, call: Call, rows: Rows, errors: list[str | None], shared: Sequence[LocalRows]) -> None:
        for part in shared:
            self._add_prompts(part.new)
        before = 0 if len(shared) == 1 else sum(len(part.ids) for part in shared[: self.rank])
        own, ids = slice(before, before + len(rows.ids)), [name for part in shared for name in part.ids]
        is_eval = self.trainer.is_eval
        batch = batch_of(shared, [self.prompts[name][0] for name in ids], step_of(call)[0], is_eval=is_eval)
        split = None if self.trainer.is_training is None else ("eval" if is_eval else "train")
        scored = ScoredBatch(call, rows, errors, self._number(ids)[own], own, batch, split)
        self.batches += 1
        if self.total.others:
            self._late = scored
            return
        log = call.get("log_metric") or (lambda *_: None)
        for name, value in self._absorb(scored, batch.parts).items():
            log(name, value)

    def _absorb(self, scored: ScoredBatch, parts: Floats) -> dict[str, float]:
        """Keep the rows of a batch whose rewards are all known; returns its metrics."""
        self._keep(scored, parts, weighted_total(parts, self.live.scoring.weights))
        batch = replace(scored.batch, parts=parts)
        return self.live.absorb(batch, self.trainer.group_size[batch.is_eval]) | {"flatspot/alarms": float(self.alarms)}

    def _keep(self, scored: ScoredBatch, parts: Floats, total: Floats) -> None:
        at, rows, errors = scored.own, scored.rows, scored.errors
        if self.total.others:
            unknown = f"{', '.join(self.total.others)}: not watched, so the total is not known"
            errors = [own or (unknown if np.isnan(value) else None) for own, value in zip(errors, total[at], strict=True)]
        known, step = len(self.prompts), scored.batch.step
        self.waiting.append(ScoredRows(rows, parts[:, at], total[at], errors, scored.sample, step, scored.split, known))

    def _add_prompts(self, new: Mapping[str, tuple[PromptText, dict[str, Json]]]) -> None:
        """Number new prompts, in an order that is the same in all processes."""
        for name, (text, columns) in new.items():
            if name not in self.prompts:
                self.prompts[name] = (len(self.prompts), Prompt(name, text, columns))

    def _number(self, names: Sequence[str]) -> list[int]:
        numbers = []
        for name in names:
            numbers.append(self.counts.get(name, 0))
            self.counts[name] = numbers[-1] + 1
        return numbers

    def _is_last(self, call: Call) -> bool:
        """Whether this is the last batch, so that no later one would write the waiting rows."""
        step, most = step_of(call)
        if step is None or most is None:
            return True
        last, stride = self._steps
        self._steps = (step, step - last if step > last else stride)
        return sum(self._steps) >= most

    def _trouble(self, error: Exception | str, *, shared: bool = False) -> None:
        text = error if isinstance(error, str) else short(error)
        if text not in self._messages and len(self._messages) < _MESSAGES_AT_MOST and not (shared and self.rank):
            say(f"cannot record this run, which continues: {text}")
        self._messages.add(text)
