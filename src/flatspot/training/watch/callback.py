"""`FlatspotCallback`: tells the watch what only the trainer knows, and raises alarms that name the cause of a missing gradient."""

from __future__ import annotations

import contextlib
import json
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from flatspot.core.optional import require
from flatspot.training.say import say
from flatspot.training.watch.recorder import Recorder
from flatspot.training.watch.resume import resume_rows
from flatspot.training.watch.trainer_facts import ends_of, group_sizes, scoring_of
from flatspot.training.watch.wrap import recorder_of
from flatspot.verdicts.alarm_words import Share, alarm_sentence, watch_summary
from flatspot.verdicts.alarms import CAUSES, Alarm, Seen, Trainer, find_alarms

_NUMBERS = {"learning_rate": "learning_rate", "loss": "loss", "grad_norm": "grad_norm", "clipped": "clip_ratio/region_mean"}
_KEPT = 16

TrainerCallback = require("transformers", extra="train", purpose="FlatspotCallback").TrainerCallback


class FlatspotCallback(TrainerCallback):  # type: ignore[misc, valid-type]
    """A transformers callback for TRL's GRPOTrainer and RLOOTrainer, beside `watch`.

    watched   what `watch` returned, or its run folder; None: what was watched last
    stop_on   causes (of `flatspot.verdicts.alarms.CAUSES`) that end the training; none by default

    Alarms are judged at each log entry over the last groups, said once, on a line of their own that begins with `flatspot:` (the logger
    `flatspot`, where logging is set up), and kept in watch.json of the run folder. A summary of all follows at the end.
    Without a watch it judges what the trainer's own log shows: a loss that is no number, a learning rate of 0, everything clipped.
    """

    def __init__(self, watched: object = None, *, stop_on: Sequence[str] = ()) -> None:
        if unknown := sorted(set(stop_on) - set(CAUSES)):
            from flatspot.core.errors import SettingsError

            raise SettingsError(f"there is no alarm {unknown[0]!r}; there are: {', '.join(CAUSES)}")
        self.recorder: Recorder | None = recorder_of(watched)
        self.stop_on = frozenset(stop_on)
        self.alarms: dict[str, Alarm] = {}
        self.history: list[dict[str, Any]] = []
        self._earlier: dict[str, Share | None] = {}  # the first window of a training that this one goes on with
        self._logged: dict[str, deque[float]] = {name: deque(maxlen=_KEPT) for name in _NUMBERS}
        self._masks_truncated = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Learn the trainer's settings; set rows aside that it draws again."""
        model, tokenizer = kwargs.get("model"), kwargs.get("processing_class")
        self._masks_truncated = bool(getattr(args, "mask_truncated_completions", False))
        if self.recorder is None:
            return
        self._resume(self.recorder, int(state.global_step))
        trainer = self.recorder.trainer
        trainer.policy = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
        trainer.group_size = group_sizes(args)
        trainer.ends = ends_of(model, tokenizer)
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
            self.history = [dict(entry) | {"until": entry.get("until") or step} for entry in before["alarms"] if int(entry["step"]) <= step]
            first = before["mixed_groups"]["first"]
            self._earlier = {"first": (float(first["share"]), int(first["groups"]))}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take in the trainer's numbers, and judge."""
        logs = logs or {}
        self._settle()
        if "loss" not in logs:  # an evaluation, or the summary at the end
            return
        for name, key in _NUMBERS.items():
            if logs.get(key) is not None:
                self._logged[name].append(float(logs[key]))
        self._judge(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Rows are on disk before the checkpoint that they led to: a run that goes on from it has all of them."""
        self._settle()
        if self.recorder is not None and control.should_save:
            self.recorder.flush(force=True)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The trainer has scored the batch of an evaluation."""
        self._settle()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As at the end of a step."""
        self.on_step_end(args, state, control, **kwargs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As at the end of a step, where something else asked for the checkpoint; and what was seen so far, to go on from."""
        if self.recorder is not None:
            self.recorder.flush(force=True)
            self._write()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write what waits, and what was seen of the run as a whole."""
        self._settle()
        if self.recorder is not None:
            self.recorder.flush(force=True)
            self._write()
            if state.is_world_process_zero:
                mixed = self._mixed(self.recorder)
                say(watch_summary(str(self.recorder.path), int(state.global_step), self.history, mixed["first"], mixed["last"]))

    def _settle(self) -> None:
        """The trainer has scored what was drawn: what it added up is known, watched or not."""
        if self.recorder is not None:
            self.recorder.settle()

    def _judge(self, state: Any, control: Any) -> None:
        ending = bool(state.max_steps) and state.global_step >= 0.9 * state.max_steps
        trainer = Trainer(
            learning_rate=tuple(self._logged["learning_rate"]),
            loss=tuple(self._logged["loss"]),
            grad_norm=tuple(self._logged["grad_norm"]),
            clipped=tuple(self._logged["clipped"]),
            masks_truncated=self._masks_truncated,
            ending=ending,
        )
        now = {alarm.cause: alarm for alarm in find_alarms(self._seen(), trainer)}
        step = int(state.global_step)
        for cause in now.keys() - self.alarms.keys():
            self.history.append({"cause": cause, "step": step, "until": None, "says": alarm_sentence(now[cause])})
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
                say(f"step {step}: the training ends here, for stop_on names {', '.join(stops)}")
            control.should_training_stop = True

    def _seen(self) -> Seen | None:
        window = self.recorder.live.window() if self.recorder is not None else None
        if window is None or self.recorder is None:
            return None
        return Seen(
            table=window.table,
            informative=window.informative,
            cut=window.clipped,
            lo=window.lo,
            hi=window.hi,
            names=window.names,
            weights=window.weights,
            whole=window.whole,
            errors=window.errors,
            references=np.array([r for r in self.recorder.references.values() if r is not None], float),
        )

    def _mixed(self, recorder: Recorder) -> dict[str, Share | None]:
        return recorder.live.mixed() | self._earlier

    def _write(self) -> None:
        if self.recorder is None:
            return
        live, mixed = self.recorder.live, self._mixed(self.recorder)
        seen = {
            "alarms": self.history,
            "alarms_now": sorted(self.alarms),
            "prompts_seen": len(self.recorder.prompts),
            "mixed_groups": {when: found and {"share": found[0], "groups": found[1]} for when, found in mixed.items()},
            "states": dict(zip(("vanishing", "learnable", "solved"), live.states.shares().tolist(), strict=True)),
            "moves": live.states.moved(),
            "half_life_updates": live.states.half_life if math.isfinite(live.states.half_life) else None,
            "batches": self.recorder.batches,
            "seconds_spent": round(self.recorder.spent, 4),
        }
        self.recorder.write("watch.json", lambda: seen)
