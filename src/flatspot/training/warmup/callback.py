"""`WarmupCallback`: probes the policy at regular steps of a supervised training, and ends it once RL can take over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError, OtherProcessError, TrainingError
from flatspot.core.optional import require
from flatspot.core.plain import Json, plain
from flatspot.core.records import Prompt
from flatspot.core.renamed import keywords
from flatspot.rewards import LoadedReward, load_reward
from flatspot.rollouts.store import prompt_text, write_json
from flatspot.runs.run import Run
from flatspot.training.folders import own_folder
from flatspot.training.inputs import LabeledRow, RewardSource
from flatspot.training.ranks import gather
from flatspot.training.say import say
from flatspot.training.warmup.checkpoints import WARMUP, WARMUP_NAMES, Checkpoints, is_older_warmup
from flatspot.training.warmup.curve import ProbeRow, read_curve, write_curve
from flatspot.training.warmup.examples import pairs
from flatspot.training.warmup.live_policy import LivePolicy
from flatspot.training.warmup.probe import Probed, ProbeSettings, labels_solved, probe, probed_prompts
from flatspot.training.warmup.probe_engine import SleepingVllm
from flatspot.training.warmup.sft import not_finite
from flatspot.training.warmup.stop_rule import Choice, StopRule, choose

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

    from flatspot.core.protocols import Engine

    Act = Callable[[TrainerState, PreTrainedModel, PreTrainedTokenizerBase], object]

_PROBES = 20  # in a whole training, by default

TrainerCallback = require("transformers", extra="train", purpose="WarmupCallback").TrainerCallback


class WarmupCallback(TrainerCallback):  # type: ignore[misc, valid-type]  # mypy does not follow transformers
    """A transformers callback that ends a supervised warm-up, for SFTTrainer, Seq2SeqTrainer and any other Trainer.

    run          a judged run folder: its prompts are probed
    reward       as for `diagnose`
    out          the folder of curve.json, with a row per probe, and, at the end, of `policy`, the checkpoint to start RL from, and
                 warmup.json
    labels       the rows of the training, {"prompt", "completion"}: they are not probed
    held_out     rows that are not in the training, for their loss (`held_back` is the old name of this argument)
    rule, probe  when to stop, and how to probe
    template_kwargs    values for the chat template; None: those that the run was drawn with
    on_probe     called with each row and the choice so far

    The trainer's own policy remains that of the last step. Only the first process probes and writes; all processes stop together.
    """

    def __init__(
        self,
        run: str | Path | Run,
        reward: RewardSource,
        *,
        out: str | Path,
        labels: Sequence[LabeledRow] = (),
        held_out: Sequence[LabeledRow] = (),
        held_back: Sequence[LabeledRow] | None = None,
        rule: StopRule | None = None,
        probe: ProbeSettings | None = None,
        on_probe: Callable[[ProbeRow, Choice], None] | None = None,
        template_kwargs: Mapping[str, Json] | None = None,
    ) -> None:
        self.settings = probe or ProbeSettings()
        self.rule = rule or StopRule()
        self.out, self.reward = Path(out), reward
        self.labels, self.held_out, self.on_probe = list(labels), _held_out(held_out, held_back), on_probe
        texts = [prompt_text(row["prompt"]) for row in [*self.labels, *self.held_out]]
        self.probed: Probed = probed_prompts(run, self.settings, without=texts, template_kwargs=template_kwargs)
        others = [row["prompt"] for row in self.labels]
        self._vllm = SleepingVllm(self.probed, others) if self.settings.engine == "vllm" else None
        self.checkpoints = Checkpoints(self.out)
        self.curve: list[ProbeRow] = []
        self.choice: Choice | None = None
        self.policy: Path | None = None
        self.every = 1
        self._loaded: LoadedReward | None = None
        self._folder = ExitStack()
        self._live: LivePolicy | None = None
        self._broken = False
        self._begun = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Probe the policy at the start; a resumed training continues the earlier curve."""
        steps = int(state.max_steps) if state.max_steps else 0
        self.rule = replace(self.rule, max_steps=self.rule.max_steps or steps or None)
        self.every = self.settings.every or max(1, (self.rule.max_steps or _PROBES) // _PROBES)
        self._begun = time.monotonic()
        self.curve = read_curve(self.out, up_to=int(state.global_step)) if state.global_step else []
        self._on_main(state, control, kwargs, self._begin)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """End the training if the loss is not finite."""
        if not_finite(logs):
            self._broken = control.should_training_stop = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Probe at regular steps and after the last one."""
        if self.choice is not None and self.choice.stop:
            control.should_training_stop = True
        elif state.global_step % self.every == 0 or state.global_step == self.rule.max_steps:
            self._on_main(state, control, kwargs, self._probe)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Probe the last step if it was not probed, and move the selected checkpoint to `out`/policy."""
        unprobed = not self.curve or self.curve[-1]["step"] != state.global_step
        if unprobed and not (self.choice is not None and self.choice.stop):
            self._on_main(state, control, kwargs, self._probe)
        self._on_main(state, control, kwargs, lambda *_: self.finish())

    def finish(self, *, interrupted: bool = False) -> Path | None:
        """Move the checkpoint selected so far to `out`/policy, and write the reason to warmup.json; None if nothing was probed."""
        self._end_reward()
        try:
            if self.policy is None and self.choice is not None:
                self._promote(self.choice, interrupted=interrupted)
        finally:
            self.close()
        return self.policy

    def _promote(self, choice: Choice, *, interrupted: bool) -> None:
        if interrupted:
            why = f"it was interrupted after step {self.curve[-1]['step']}; so far {choice.why}"
            choice = replace(choice, stop=True, cause="interrupted", why=why)
        elif not choice.stop:
            why = f"the training ended after step {self.curve[-1]['step']}: {choice.why.split(', and more')[0]}"
            choice = replace(choice, stop=True, cause="max-steps", why=why)
        self.choice = choice
        self.policy = self.checkpoints.promote(choice.step)
        write_json(plain(self.describe()), self.out / "warmup.json")

    def close(self) -> None:
        """End the reward's worker processes and vLLM's, and unlock the folder."""
        self._end_reward()
        if self._vllm is not None:
            self._vllm.close()
        self._folder.close()

    def _end_reward(self) -> None:
        if self._loaded is not None and self._loaded is not self.reward:
            self._loaded.close()
        self._loaded = None

    def describe(self) -> dict[str, Json]:
        """The selected checkpoint and the reason: the contents of warmup.json. Raises `TrainingError` before the first probe."""
        if self.choice is None:
            raise TrainingError("no checkpoint is selected before the first probe: call describe after the training has begun")
        return {
            "chosen_step": self.choice.step,
            "cause": self.choice.cause,
            "why": self.choice.why,
            "recovered": self.choice.recovered,
            "policy": str(self.policy or self.out / "policy"),
            "labels": len(self.labels),
            "held_back": len(self.held_out),
            "probed": len(self.probed.prompts),
            "generations": sum(row["generations"] for row in self.curve),
            "rule": asdict(self.rule),
            "probe": asdict(self.settings) | {"every": self.every, "group_size": self.probed.zones.group_size},
        }

    def _on_main(self, state: TrainerState, control: TrainerControl, kwargs: Mapping[str, object], act: Act) -> None:
        """Run `act` in the first process; all processes then stop if it says so, or raise if it raised."""
        error: BaseException | None = None
        if state.is_world_process_zero:
            try:
                act(state, kwargs.get("model"), kwargs.get("processing_class") or kwargs.get("tokenizer"))
            except Exception as caught:
                error = caught
        self.choice, message = gather((self.choice, None if error is None else str(error)))[0]
        if error is not None:
            raise error
        if message is not None:
            raise OtherProcessError(f"the first process could not probe the policy: {message}")
        if self.choice is not None and self.choice.stop:
            control.should_training_stop = True

    def _begin(self, state: TrainerState, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._live = LivePolicy(model, tokenizer, self.probed.template_kwargs, self._vllm)
        self._loaded = self.reward if isinstance(self.reward, LoadedReward) else load_reward(self.reward)
        self._folder.enter_context(own_folder(self.out, WARMUP, WARMUP_NAMES, is_older_warmup))
        self.checkpoints.clear(after=int(state.global_step) if self.curve else -1)
        if not self.curve or self.curve[-1]["step"] != state.global_step:
            self._probe(state, model, tokenizer)

    def _probe(self, state: TrainerState, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Probe, judge, and save the checkpoints that may be selected."""
        assert self._live is not None and self._loaded is not None
        step = int(state.global_step)
        if self._broken:
            result = ProbeRow(generations=0, seconds=0.0, loss=math.nan)
        else:
            result = self._sampled(self._live, self._loaded, labels=step == 0 and bool(self.labels))
        row = ProbeRow(step=step, labels=len(self.labels), elapsed=round(time.monotonic() - self._begun, 3), saved=False)
        row.update(result)
        if step == 0 and result.get("scored") == 0:
            raise TrainingError(f"the reward failed on every completion at the start: {result['error']}")
        if "ready" in row:
            self.checkpoints.save(step, self._live.save)
            row["saved"] = True
        self._add(row)

    def _sampled(self, live: LivePolicy, reward: LoadedReward, *, labels: bool) -> ProbeRow:
        """The numbers of a probe, with those of the labeled prompts; `loss` is NaN if those of the policy are not finite."""
        try:
            with live.engine() as (engine, policy):
                result = probe(engine, policy, reward, self.probed, pairs(self.held_out, policy))
                if labels:
                    result["labels_solved"], extra = self._solved(engine)
                    result["generations"] += extra
                return result
        except EngineError as error:
            if not isinstance(error.__cause__, FloatingPointError):
                raise
            return ProbeRow(generations=0, seconds=0.0, loss=math.nan)

    def _add(self, row: ProbeRow) -> None:
        self.curve.append(row)
        self.choice = choose(self.curve, self.rule)
        steps = {self.choice.step, row["step"]}
        for old in self.curve:
            old["saved"] = old["saved"] and old["step"] in steps
        write_curve(self.out, self.curve)
        self.checkpoints.keep(steps)
        if self.on_probe is not None:
            self.on_probe(row, self.choice)
        elif self.choice.stop:
            say(f"step {row['step']}, the warm-up stops: {self.choice.why}")

    def _solved(self, engine: Engine) -> tuple[float | None, int]:
        prompts = [Prompt(f"label-{i}", row["prompt"], row.get("columns") or {}) for i, row in enumerate(self.labels)]
        assert self._loaded is not None
        return labels_solved(engine, self._loaded, self.probed, prompts)


def _held_out(held_out: Sequence[LabeledRow], held_back: Sequence[LabeledRow] | None) -> list[LabeledRow]:
    """The rows of `held_out`, or of its old name; SettingsError for both."""
    if held_back is None:
        return list(held_out)
    both = {"held_back": held_back} | ({"held_out": held_out} if held_out else {})
    return list(keywords(both, stacklevel=4)["held_out"])
