"""Keep what reward functions see: rows of every generation batch into a run folder, their numbers to the trainer's log.

Rows wait in memory and go to disk as whole parts, `rollouts/part-RANK-NUMBER.parquet`, as soon as the time spent on writing is under
`WRITING_SHARE` of the time passed: a killed run loses the rows of its last seconds where steps are short, and none where they are long.
Nothing here may stop a training: what fails is said once, and tried again with the next batch.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.records import Prompt
from flatspot.rollouts.drawn import part_file
from flatspot.rollouts.store import RunFolder, prompt_table, write_json, write_table
from flatspot.stats.evidence import Floats
from flatspot.stats.groups import weighted_total
from flatspot.training.calls import Call, columns_of, numbers_of, read_rows, step_of, text_code
from flatspot.training.kept import Kept, kept_table
from flatspot.training.live import Batch, Live
from flatspot.training.ranks import gather

WRITING_SHARE = 0.002
_BATCHES_AT_MOST = 500
_LOG = logging.getLogger("flatspot")


@dataclass
class Trainer:
    """What the callback tells of the trainer; all unknown without one.

    policy       its name
    group_size   completions per prompt, (in training, in evaluation)
    ends         token ids that end a completion
    is_training  whether the model is in training mode now, which is how the trainer itself tells evaluations apart
    """

    policy: str = ""
    group_size: tuple[int | None, int | None] = (None, None)
    ends: frozenset[int] | None = None
    is_training: Callable[[], bool] | None = None


@dataclass
class _Open:
    """A generation batch whose reward functions have not all answered yet."""

    call: Call
    values: list[Floats | None]
    errors: list[list[str | None] | None]


@dataclass
class Recorder:
    """One watched run, in one process.

    folder      the open run folder, in the first process only
    prompts     every prompt seen: its number and what is known of it, equal in all processes
    drawn       completions of each prompt so far
    references  the reward of a prompt's reference answer, where it is known
    alarms      how many alarms are on
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
    alarms: int = 0
    batches: int = 0
    spent: float = 0.0
    _written: float = 0.0
    _started: float | None = None
    _open: _Open | None = None
    _waiting: list[Kept] = field(default_factory=list)
    _new_prompts: bool = False
    _steps: tuple[int, int] = (0, 1)
    _troubled: bool = False

    def seen(self, component: int, raw: Sequence[Any], call: Call, said: Sequence[str | None] = ()) -> None:
        """A reward function answered, with the errors it `said` of rows; never raises."""
        began = time.perf_counter()
        self._started = self._started or began
        try:
            now = self._batch(call)
            values, errors = numbers_of(self.names[component], raw)
            now.values[component] = values
            now.errors[component] = [own or mine for own, mine in zip(said, errors, strict=True)] if said else errors
            if all(done is not None for done in now.values):
                self._open = None
                metrics = self._keep(now)
                log = call.get("log_metric")
                if log is not None:
                    for name, value in metrics.items():
                        log(name, value)
                self.flush(force=self._is_last(call))
        except Exception as error:
            self._trouble(error)
        self.spent += time.perf_counter() - began

    def failed(self, component: int, error: BaseException, call: Call) -> None:
        """A reward function raised, which ends the training: the rows are kept with the error, at once; never raises."""
        text = f"{self.names[component]}: {type(error).__name__}: {str(error)[:300]}"
        try:
            now, rows = self._batch(call), len(call["completions"])
            now.values = [np.full(rows, math.nan) if values is None else values for values in now.values]
            now.errors = [errors or [None] * rows for errors in now.errors]
            now.errors[component] = [text] * rows
            self._open = None
            self._keep(now, alone=True)
            self.flush(force=True)
        except Exception as trouble:
            self._trouble(trouble)

    def flush(self, *, force: bool = False) -> None:
        """Write the waiting rows as one part, if there is time for it or it is asked for; never raises."""
        began = time.perf_counter()
        affordable = 0 < self._written <= WRITING_SHARE * (began - (self._started or began)) or self._written == 0 < self.batches - 3
        if not self._waiting or not (force or affordable or len(self._waiting) > _BATCHES_AT_MOST):
            return
        try:
            if self.folder is not None and self._new_prompts:
                known = [prompt for _, prompt in self.prompts.values()]
                write_table(prompt_table(known, [self.references.get(p.id) for p in known]), self.path / "prompts.parquet")
                self._new_prompts = False
            write_table(kept_table(self._waiting, self.names, self.trainer.policy), part_file(self.path, self.rank, self.part))
            self._waiting, self.part = [], self.part + 1
        except Exception as error:
            self._trouble(error)
            self._waiting = self._waiting[-_BATCHES_AT_MOST:]
        self._written += time.perf_counter() - began

    def note(self, **facts: Any) -> None:
        """Add to notes.json, which `flatspot inspect` reads; never raises."""
        if self.folder is None:
            return
        try:
            file = self.path / "notes.json"
            write_json((json.loads(file.read_text("utf-8")) if file.exists() else {}) | facts, file)
        except Exception as error:
            self._trouble(error)

    def write_watch(self, seen: Mapping[str, Any]) -> None:
        """Write watch.json, what the run as a whole showed; never raises."""
        if self.folder is None:
            return
        try:
            write_json(seen, self.path / "watch.json")
        except Exception as error:
            self._trouble(error)

    def release(self) -> None:
        """Write what waits, and let another writer have the folder."""
        self.flush(force=True)
        if self.folder is not None:
            self.folder.lock.close()

    def _batch(self, call: Call) -> _Open:
        if self._open is None or self._open.call["completions"] is not call["completions"]:
            self._open = _Open(call, [None] * len(self.names), [None] * len(self.names))
        return self._open

    def _keep(self, now: _Open, *, alone: bool = False) -> dict[str, float]:
        """Take in a whole batch: gather what the other processes saw, keep this one's rows, measure all; returns the metrics.

        alone  a function raised here and not elsewhere: nothing can be gathered any more
        """
        parts = np.stack([values for values in now.values if values is not None])
        rows = read_rows(now.call, self.trainer.ends)
        errors = ["; ".join(e for e in row if e) or None for row in zip(*(e for e in now.errors if e is not None), strict=True)]
        new = {name: (rows.prompt[i], columns_of(now.call, i)) for i, name in enumerate(rows.ids) if name not in self.prompts}
        cut = [math.nan if c is None else float(c) for c in rows.cut]
        local = (rows.ids, parts, [text_code(t) for t in rows.completion], cut, new, sum(e is not None for e in errors))
        shared = [local] if alone else gather(local)
        for part in shared:
            self._learn(part[4])
        step = step_of(now.call)[0]
        is_eval = self.trainer.is_training is not None and not self.trainer.is_training()
        everyone = [name for part in shared for name in part[0]]
        batch = Batch(
            step=step,
            prompt=np.array([self.prompts[name][0] for name in everyone]),
            parts=np.concatenate([part[1] for part in shared], axis=1),
            completion=np.array([code for part in shared for code in part[2]]),
            truncated=np.array([value for part in shared for value in part[3]]),
            errors=sum(part[5] for part in shared),
            is_eval=is_eval,
        )
        before = 0 if len(shared) == 1 else sum(len(part[0]) for part in shared[: self.rank])
        sample = self._number(everyone)[before : before + len(rows.ids)]
        split = None if self.trainer.is_training is None else ("eval" if is_eval else "train")
        self._waiting.append(Kept(rows, parts, weighted_total(parts, self.live.scoring.weights), errors, sample, step, split))
        self.batches += 1
        return self.live.absorb(batch, self.trainer.group_size[is_eval]) | {"flatspot/alarms": float(self.alarms)}

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
        if step > last:
            stride = step - last
        self._steps = (step, stride)
        return step + stride >= most

    def _trouble(self, error: Exception) -> None:
        if not self._troubled:
            _LOG.warning("flatspot cannot record this run, which goes on: %s: %s", type(error).__name__, error)
        self._troubled = True
