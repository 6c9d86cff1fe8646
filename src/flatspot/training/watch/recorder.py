"""Keep what reward functions see: rows of every generation batch into a run folder, their numbers to the trainer's log.

Rows wait in memory and go to disk as whole parts, `rollouts/part-RANK-NUMBER.parquet`, as soon as the time spent on writing is under
`WRITING_SHARE` of the time passed: a killed run loses the rows of its last seconds where steps are short, and none where they are long.
Nothing here may stop a training: what fails is said once, and tried again with the next batch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.records import Prompt
from flatspot.rollouts.parts import part_file
from flatspot.rollouts.store import RunFolder, prompt_table, write_json, write_table
from flatspot.stats.evidence import Floats
from flatspot.stats.groups import weighted_total
from flatspot.training.ranks import gather
from flatspot.training.say import say
from flatspot.training.watch.batches import Local, Open, Scored, batch_of, local_rows
from flatspot.training.watch.calls import Call, Rows, by_position, numbers_of, read_rows, step_of
from flatspot.training.watch.live import Live
from flatspot.training.watch.rows import Kept, kept_table
from flatspot.training.watch.trainer_facts import Total, Trainer, all_watched, log_late, meet, rewards_from_log, trainer_of

WRITING_SHARE = 0.002
_BATCHES_AT_MOST = 500
_TOLD_AT_MOST = 3


@dataclass
class Recorder:
    """One watched run, in one process.

    names       of the watched components
    folder      the open run folder, in the first process only
    prompts     every prompt seen: its number and what is known of it, equal in all processes
    drawn       completions of each prompt so far
    references  the reward of a prompt's reference answer, where it is known
    total       every reward that the trainer adds up; what is watched, before a trainer is known
    alarms      how many alarms are on
    caveats     what whoever reads the run folder must know
    older       the parts that were there when the watch was opened; None once a training has begun
    waiting     rows that are still to be written
    spent       seconds that watching has taken, writing included
    """

    path: Path
    names: tuple[str, ...]
    live: Live
    folder: RunFolder | None
    rank: int
    part: int = 0
    trainer: Trainer = field(default_factory=Trainer)
    prompts: dict[str, tuple[int, Prompt]] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)
    references: Mapping[str, float | None] = field(default_factory=dict)
    total: Total = field(default_factory=lambda: all_watched(()))
    alarms: int = 0
    caveats: list[str] = field(default_factory=list)
    older: frozenset[str] | None = frozenset()
    waiting: list[Kept] = field(default_factory=list)
    batches: int = 0
    spent: float = 0.0
    _written: float = 0.0
    _started: float | None = None
    _open: Open | None = None
    _closed: Any = None
    _late: Scored | None = None
    _new_prompts: bool = False
    _steps: tuple[int, int] = (0, 1)
    _n_gathers: int = 0
    _off: bool = False
    _messages: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.total = all_watched(self.names)

    def seen(self, component: int, raw: Sequence[Any], call: Call, said: Sequence[str | None] = ()) -> None:
        """A reward function answered, with the errors it `said` of rows; never raises."""
        began = time.perf_counter()
        self._started = self._started or began
        now = self._batch(call)
        if now is not None:
            try:
                values, errors = numbers_of(self.names[component], raw)
                now.errors[component] = [own or mine for own, mine in zip(said, errors, strict=True)] if said else errors
                now.values[component] = values
            except Exception as error:
                now.trouble = _short(error)
            self._answered(now, component)
        self.spent += time.perf_counter() - began

    def failed(self, component: int, error: BaseException, call: Call) -> None:
        """A reward function raised, which ends the training: the rows are kept with the error, at once; never raises.

        The other processes wait for this one's rows of the batch: they get them, as rows that failed.
        """
        now = self._batch(call)
        if now is None:
            return
        try:
            now.errors[component] = [f"{self.names[component]}: {type(error).__name__}: {str(error)[:300]}"] * len(call["completions"])
        except Exception as trouble:
            now.trouble = _short(trouble)
        self._closed = call.get("completions")
        self._close(now)
        self.settle(is_scored=False)
        self.flush(force=True)

    def settle(self, *, is_scored: bool = True) -> None:
        """Finish a batch that waited for the trainer to score it, which adds up rewards that are not watched; never raises."""
        late, self._late = self._late, None
        if late is None:
            return
        try:
            found = rewards_from_log(self.trainer.itself, self.total, late) if is_scored else None
            if found is None:
                self.caveat(
                    f"The trainer adds up rewards that are not watched ({', '.join(self.total.others)}), and what they gave cannot be "
                    "read from it: these completions have no total, and their groups are not judged. Watch all reward functions; of a "
                    "reward model, a function that calls it."
                )
                self._keep(late, late.batch.parts, np.full(late.batch.parts.shape[1], math.nan))
                return
            metrics = self._absorb(late, found)
            log_late(self.trainer.itself, metrics, is_eval=late.batch.is_eval)
        except Exception as error:
            self._trouble(error)

    def caveat(self, text: str) -> None:
        """Say something that limits what the run folder shows, once, and keep it there."""
        if text not in self.caveats:
            self.caveats.append(text)
            self.note(caveats=self.caveats)
            if self.rank == 0:
                say(text)

    def flush(self, *, force: bool = False) -> None:
        """Write the waiting rows as one part, if there is time for it or it is asked for; never raises."""
        began = time.perf_counter()
        affordable = 0 < self._written <= WRITING_SHARE * (began - (self._started or began)) or self._written == 0 < self.batches - 3
        if not self.waiting or not (force or affordable or len(self.waiting) > _BATCHES_AT_MOST):
            return
        try:
            if self.folder is not None and self._new_prompts:
                known = [prompt for _, prompt in self.prompts.values()]
                write_table(prompt_table(known, [self.references.get(p.id) for p in known]), self.path / "prompts.parquet")
                self._new_prompts = False
            (file := part_file(self.path, self.rank, self.part)).parent.mkdir(parents=True, exist_ok=True)  # may be another disk
            write_table(kept_table(self.waiting, self.total.names, self.trainer.policy), file)
            self.waiting, self.part = [], self.part + 1
        except Exception as error:
            self._trouble(error)
            self.waiting = self.waiting[-_BATCHES_AT_MOST:]
        self._written += time.perf_counter() - began

    def note(self, **facts: Any) -> None:
        """Add to notes.json, which `flatspot inspect` reads; never raises."""
        file = self.path / "notes.json"
        self.write(file.name, lambda: (json.loads(file.read_text("utf-8")) if file.exists() else {}) | facts)

    def write(self, name: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Write a JSON file of the run folder, in the process that has it open; never raises."""
        try:
            if self.folder is not None:
                write_json(facts(), self.path / name)
        except Exception as error:
            self._trouble(error)

    def release(self) -> None:
        """Write what waits, and let another writer have the folder."""
        self.settle()
        self.flush(force=True)
        if self.folder is not None:
            self.folder.lock.close()

    def _batch(self, call: Call) -> Open | None:
        """The batch of a call; None where it is over: one of its functions raised, or recording has ended."""
        completions = call.get("completions")
        if self._off or (completions is not None and completions is self._closed):
            return None
        if self._open is None or self._open.call.get("completions") is not completions:
            if self._open is not None:
                silent = [name for i, name in enumerate(self.names) if i not in self._open.answered]
                self._trouble(f"{', '.join(silent)} did not answer for a batch: give the trainer every function that watch returned")
            self.settle()
            self._meet(call)
            self._open = Open(call)
        return self._open

    def _meet(self, call: Call) -> None:
        """Learn from the trainer, when a call first shows it, what it adds up and how."""
        trainer = trainer_of(call)
        if trainer is None or trainer is self.trainer.itself:
            return
        try:
            self.flush(force=True)  # rows of before have other components
            self.total, scoring = meet(self.trainer, trainer, self, self.names)
            self.live.score_as(self.total.names, scoring)
        except Exception as error:
            self._trouble(error)

    def _answered(self, now: Open, component: int) -> None:
        now.answered.add(component)
        # where the trainer has none of ours itself, they are called by functions of the user's: all of them, it is to be hoped
        if now.answered >= ({i for i, place in enumerate(self.total.place) if place is not None} or set(range(len(self.names)))):
            self._close(now)
            self.flush(force=self._is_last(now.call))

    def _close(self, now: Open) -> None:
        """Bring a batch together with what the other processes saw; every process does so once a batch, whatever went wrong in it."""
        self._open, told = None, now.trouble
        if None in self.total.place:  # a function that the trainer does not have itself may still answer for this batch
            self._closed = now.call.get("completions")
        try:
            rows, errors, local = self._local(now) if told is None else (None, [], None)
        except Exception as error:
            rows, errors, local, told = None, [], None, _short(error)
        try:
            shared = gather((self._n_gathers, told, local))
            self._n_gathers += 1
            if len({number for number, _, _ in shared}) > 1:
                raise RuntimeError("the processes do not call the reward functions equally often")
        except Exception as error:
            self._off = True
            self._trouble(error)
            return
        try:
            lost = [text for _, text, _ in shared if text is not None]
            if lost or rows is None:
                self._trouble(lost[0])
            else:
                self._bring(now.call, rows, errors, [part for _, _, part in shared])
        except Exception as error:
            self._trouble(error)

    def _local(self, now: Open) -> tuple[Rows, list[str | None], Local]:
        """(this process's rows, their errors, what the others are told of them)."""
        size = self.trainer.group_size[self.trainer.is_eval]
        rows = read_rows(now.call, self.trainer.ends)
        if rows.opaque:
            rows = by_position(rows, size, self.rank * len(rows.ids), f"{step_of(now.call)[0]} {self.batches}")
            self.caveat(
                f"The prompts hold what has no content to tell them apart by ({', '.join(rows.opaque)}): completions are grouped by their "
                "place in the batch, and a prompt that comes again counts as another one. Give pictures as PIL images, arrays or bytes."
            )
        errors, local = local_rows(now, rows, self.total.place, len(self.total.names), self.prompts)
        return rows, errors, local

    def _bring(self, call: Call, rows: Rows, errors: list[str | None], shared: Sequence[Any]) -> None:
        for part in shared:
            self._learn(part.new)
        before = 0 if len(shared) == 1 else sum(len(part.ids) for part in shared[: self.rank])
        mine, everyone = slice(before, before + len(rows.ids)), [name for part in shared for name in part.ids]
        is_eval = self.trainer.is_eval
        batch = batch_of(shared, [self.prompts[name][0] for name in everyone], step_of(call)[0], is_eval=is_eval)
        split = None if self.trainer.is_training is None else ("eval" if is_eval else "train")
        scored = Scored(call, rows, errors, self._number(everyone)[mine], mine, batch, split)
        self.batches += 1
        if self.total.others:
            self._late = scored
            return
        log = call.get("log_metric") or (lambda *_: None)
        for name, value in self._absorb(scored, batch.parts).items():
            log(name, value)

    def _absorb(self, scored: Scored, parts: Floats) -> dict[str, float]:
        """Keep the rows of a batch of which every reward is known, and measure it; returns the metrics."""
        self._keep(scored, parts, weighted_total(parts, self.live.scoring.weights))
        batch = replace(scored.batch, parts=parts)
        return self.live.absorb(batch, self.trainer.group_size[batch.is_eval]) | {"flatspot/alarms": float(self.alarms)}

    def _keep(self, scored: Scored, parts: Floats, total: Floats) -> None:
        at, rows, errors = scored.mine, scored.rows, scored.errors
        if self.total.others:
            lost = f"{', '.join(self.total.others)}: not watched, so the total is not known"
            errors = [own or (lost if np.isnan(value) else None) for own, value in zip(errors, total[at], strict=True)]
        self.waiting.append(Kept(rows, parts[:, at], total[at], errors, scored.sample, scored.batch.step, scored.split))

    def _learn(self, new: Mapping[str, tuple[Any, dict[str, Any]]]) -> None:
        """Number the prompts that come for the first time, in the order that all processes see them."""
        for name, (text, columns) in new.items():
            if name not in self.prompts:
                self.prompts[name] = (len(self.prompts), Prompt(name, text, columns))
                self._new_prompts = True

    def _number(self, names: Sequence[str]) -> list[int]:
        found = []
        for name in names:
            found.append(self.drawn.get(name, 0))
            self.drawn[name] = found[-1] + 1
        return found

    def _is_last(self, call: Call) -> bool:
        """Whether no further batch is to come, so that nothing later would write what waits."""
        step, most = step_of(call)
        if step is None or most is None:
            return True
        last, stride = self._steps
        stride = step - last if step > last else stride
        self._steps = (step, stride)
        return step + stride >= most

    def _trouble(self, error: Exception | str) -> None:
        text = error if isinstance(error, str) else _short(error)
        if text not in self._messages and len(self._messages) < _TOLD_AT_MOST:
            say(f"cannot record this run, which goes on: {text}")
        self._messages.add(text)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
