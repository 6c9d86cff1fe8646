"""`FlatspotCallback`: passes the trainer's settings and log to the watch, and raises alarms that name the cause of a missing gradient."""

from __future__ import annotations

import contextlib
import json
import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from flatspot.core.optional import require
from flatspot.training.say import say
from flatspot.training.watch.recorder import Recorder
from flatspot.training.watch.resume import resume_rows
from flatspot.training.watch.trainer_facts import ends_of, group_sizes, scoring_of
from flatspot.training.watch.wrap import recorder_of
from flatspot.verdicts.alarm_words import Share, alarm_sentence, watch_summary
from flatspot.verdicts.alarms import CAUSES, Alarm, RecentGroups, Trainer, find_alarms

if TYPE_CHECKING:
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

_NUMBERS = {"learning_rate": "learning_rate", "loss": "loss", "grad_norm": "grad_norm", "clipped": "clip_ratio/region_mean"}
_HISTORY = 16  # log entries that alarms are judged on

TrainerCallback = require("transformers", extra="train", purpose="FlatspotCallback").TrainerCallback


class AlarmEntry(TypedDict):
    """An alarm in watch.json: from the update `step` to the update `until`, None while it lasts; `says` is its sentence."""

    cause: str
    step: int
    until: int | None
    says: str


class FlatspotCallback(TrainerCallback):  # type: ignore[misc, valid-type]  # mypy does not follow transformers
    """A transformers callback for TRL's GRPOTrainer and RLOOTrainer, to be used with `watch`.

    watched   the functions that `watch` returned, or its run folder; None: the latest watch
    stop_on   causes (of `flatspot.verdicts.alarms.CAUSES`) that end the training; none by default

    Alarms are judged at each log entry over the last groups, reported once, on a line that starts with `flatspot:` (or through the logger
    `flatspot`, if logging is set up), and stored in watch.json of the run folder. A summary follows at the end.
    Without a watch, alarms are judged from the trainer's log alone: a loss that is not a number, a learning rate of 0, everything clipped.
    """

    def __init__(self, watched: object = None, *, stop_on: Sequence[str] = ()) -> None:
        if unknown := sorted(set(stop_on) - set(CAUSES)):
            from flatspot.core.errors import SettingsError

            raise SettingsError(f"there is no alarm {unknown[0]!r}; there are: {', '.join(CAUSES)}")
        self.recorder: Recorder | None = recorder_of(watched)
        self.stop_on = frozenset(stop_on)
        self.alarms: dict[str, Alarm] = {}
        self.history: list[AlarmEntry] = []
        self._earlier: dict[str, Share | None] = {}  # the first window of the training that this one resumes
        self._log: dict[str, deque[float]] = {name: deque(maxlen=_HISTORY) for name in _NUMBERS}
        self._masks_truncated = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **_: object,
    ) -> None:
        """Read the trainer's settings; set aside rows that it is going to sample again."""
        self._masks_truncated = bool(getattr(args, "mask_truncated_completions", False))
        if self.recorder is None:
            return
        self._resume(self.recorder, int(state.global_step))
        trainer = self.recorder.trainer
        trainer.policy = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
        trainer.group_size = group_sizes(args)
        trainer.ends = ends_of(model, processing_class)
        trainer.is_training = None if model is None else lambda: bool(model.training)
        if trainer.itself is None:
            scoring = scoring_of(args, getattr(args, "reward_weights", None), len(self.recorder.names))
            self.recorder.live.score_as(self.recorder.names, scoring)

    def _resume(self, recorder: Recorder, step: int) -> None:
        resume_rows(recorder, step)
        self.alarms, self.history, self._earlier, recorder.alarms = {}, [], {}, 0
        if step == 0:
            return
        self._earlier = {"first": None}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            before = json.loads((recorder.path / "watch.json").read_text("utf-8"))
            entries = [entry for entry in before["alarms"] if int(entry["step"]) <= step]
            self.history = [
                AlarmEntry(cause=e["cause"], step=int(e["step"]), until=e.get("until") or step, says=e["says"]) for e in entries
            ]
            first = before["mixed_groups"]["first"]
            self._earlier = {"first": (float(first["share"]), int(first["groups"]))}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Read the trainer's numbers, and judge."""
        logs = logs or {}
        self._settle()
        if "loss" not in logs:  # an evaluation, or the summary at the end
            return
        for name, key in _NUMBERS.items():
            if logs.get(key) is not None:
                self._log[name].append(float(logs[key]))
        self._judge(state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write the rows before the checkpoint that they led to, so that a resumed run has all of them."""
        self._settle()
        if self.recorder is not None and control.should_save:
            self.recorder.flush(force=True)

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """The trainer has scored the batch of an evaluation."""
        self._settle()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """As at the end of a step."""
        self.on_step_end(args, state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """As at the end of a step, for checkpoints requested elsewhere; and write watch.json, to resume from."""
        if self.recorder is not None:
            self.recorder.flush(force=True)
            self._write()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write the remaining rows and a summary of the whole run."""
        self._settle()
        if self.recorder is not None:
            self.recorder.flush(force=True)
            self._write()
            if state.is_world_process_zero:
                mixed = self._mixed(self.recorder)
                say(watch_summary(str(self.recorder.path), int(state.global_step), self.history, mixed["first"], mixed["last"]))

    def _settle(self) -> None:
        """The trainer has scored the batch, so its total is available, including rewards that are not watched."""
        if self.recorder is not None:
            self.recorder.settle()

    def _judge(self, state: TrainerState, control: TrainerControl) -> None:
        ending = bool(state.max_steps) and state.global_step >= 0.9 * state.max_steps
        trainer = Trainer(
            learning_rate=tuple(self._log["learning_rate"]),
            loss=tuple(self._log["loss"]),
            grad_norm=tuple(self._log["grad_norm"]),
            clipped=tuple(self._log["clipped"]),
            masks_truncated=self._masks_truncated,
            ending=ending,
        )
        now = {alarm.cause: alarm for alarm in find_alarms(self._last_groups(), trainer)}
        step = int(state.global_step)
        for cause in now.keys() - self.alarms.keys():
            self.history.append(AlarmEntry(cause=cause, step=step, until=None, says=alarm_sentence(now[cause])))
            if state.is_world_process_zero:
                say(f"step {step}, {cause}: {alarm_sentence(now[cause])}")
        for entry in self.history:
            if entry["until"] is None and entry["cause"] not in now:
                entry["until"] = step
        if now.keys() != self.alarms.keys():
            self.alarms = now
            if self.recorder is not None:
                self.recorder.alarms = len(now)
                self._write()
        self.alarms = now
        if stops := sorted(self.stop_on & now.keys()):
            if state.is_world_process_zero and not control.should_training_stop:
                say(f"step {step}: the training ends here because of stop_on = {', '.join(stops)}")
            control.should_training_stop = True

    def _last_groups(self) -> RecentGroups | None:
        window = self.recorder.live.window() if self.recorder is not None else None
        if window is None or self.recorder is None:
            return None
        return window

    def _mixed(self, recorder: Recorder) -> dict[str, Share | None]:
        return recorder.live.mixed() | self._earlier

    def _write(self) -> None:
        if self.recorder is None:
            return
        live, mixed = self.recorder.live, self._mixed(self.recorder)
        contents = {
            "alarms": self.history,
            "alarms_now": sorted(self.alarms),
            "prompts_seen": len(self.recorder.prompts),
            "mixed_groups": {when: share and {"share": share[0], "groups": share[1]} for when, share in mixed.items()},
            "states": dict(zip(("vanishing", "learnable", "solved"), live.states.shares().tolist(), strict=True)),
            "moves": live.states.moved(),
            "half_life_updates": live.states.half_life if math.isfinite(live.states.half_life) else None,
            "batches": self.recorder.batches,
            "seconds_spent": round(self.recorder.spent, 4),
        }
        self.recorder.write("watch.json", lambda: contents)
