"""The warm-up: supervised finetuning on few labels that ends itself once RL can use the prompts, and the checkpoint to start RL from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flatspot.core.errors import PromptFileError, SettingsError
from flatspot.core.optional import require
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import LoadedReward, load_reward
from flatspot.runs.run import Run, as_run
from flatspot.training.folders import own_folder
from flatspot.training.named import named_by_run
from flatspot.training.warmup.checkpoints import WARMUP, WARMUP_NAMES, is_older_warmup
from flatspot.training.warmup.labels import Labels, hold_back, read_labels
from flatspot.training.warmup.probe import ProbeSettings
from flatspot.training.warmup.sft import make_learner, sft
from flatspot.training.warmup.stop_rule import Choice, StopRule


@dataclass(frozen=True)
class Warmed:
    """A warm-up that ended.

    checkpoint   the folder of the policy to start RL from
    curve        the rows of curve.json; empty without probes
    chosen_step  the step it was taken at; 0: the policy as it was
    why, cause   why it stopped, in a sentence, and as one of `handoff.CAUSES`
    recovered    whether more prompts are ready for RL than at the start
    notes        what is to be said of the labels
    """

    out: Path
    checkpoint: Path
    curve: list[dict[str, Any]] = field(repr=False)
    chosen_step: int
    why: str
    seconds: float
    cause: str = "max-steps"
    recovered: bool = False
    labels: int = 0
    held_back: int = 0
    notes: tuple[str, ...] = ()
    is_main: bool = True


def warmup(
    labels: Any,
    model: Any = None,
    reward: Any = None,
    *,
    run: str | Path | Run,
    out: str | Path,
    answer_col: str = "answer",
    rule: StopRule | None = StopRule(),  # noqa: B008 - frozen
    probe: ProbeSettings = ProbeSettings(),  # noqa: B008 - frozen
    options: Sequence[str] = (),
    config: str | Path | None = None,
    seed: int = 0,
    allow_foreign: bool = False,
    reward_timeout_s: float = 10.0,
    reward_weights: Sequence[float] | None = None,
    on_probe: Callable[[Mapping[str, Any], Choice], None] | None = None,
) -> Warmed:
    """Finetune on labels until held-out prompts of a judged run can be left to RL.

    labels   a file or rows with the prompt and `answer_col`; see `warmup_labels.read_labels`
    model    as `sft` takes it; None: the run's own
    reward   as `diagnose` takes it; None: the run's own, with its weights
    run      a judged run folder: what is probed are its prompts without a label
    out      curve.json, warmup.json and policy/ go here; one that holds such files of somebody else's is refused
    rule     when to stop; None: never, and nothing is probed
    options, config   as `sft` takes them; the longest warm-up is max_steps or num_train_epochs of these
    seed     of the probes and of what is held back; the training's own is --seed of the options

    Ctrl-C keeps the checkpoint chosen so far, and the curve. Raises `FlatspotError` for what the user can mend.
    """
    require("trl", extra="train", purpose="flatspot warmup")
    begun, out = time.monotonic(), Path(out)
    run = as_run(run)
    if out.resolve() == run.folder.resolve():
        raise SettingsError(f"{out} is the judged run itself, and stays as it is: give another --out")
    model, reward, weights = named_by_run(run, model, reward, reward_weights)
    found = read_labels(labels, run, answer_col=answer_col, allow_foreign=allow_foreign)
    settings = replace(probe, seed=seed)
    with own_folder(out, WARMUP, WARMUP_NAMES, is_older_warmup):
        if rule is None:
            checkpoint = sft(found.learnt, model, out=out, options=options, config=config)
            why = "it ran as long as it was told to; nothing was probed"
            return Warmed(out, checkpoint, [], -1, why, time.monotonic() - begun, labels=len(found.learnt), notes=found.notes)
        found = hold_back(found, probe.held_back, seed)
        loaded = reward if isinstance(reward, LoadedReward) else load_reward(reward, weights=weights, timeout_s=reward_timeout_s)
        try:
            found = _with_rewards(found, loaded, run)
            return _warm(found, model, loaded, run, out, rule, settings, options, config, on_probe, begun)
        finally:
            if loaded is not reward:
                loaded.close()


def _warm(
    labels: Labels,
    model: Any,
    reward: LoadedReward,
    run: Run,
    out: Path,
    rule: StopRule,
    probe: ProbeSettings,
    options: Sequence[str],
    config: str | Path | None,
    on_probe: Callable[[Mapping[str, Any], Choice], None] | None,
    begun: float,
) -> Warmed:
    from flatspot.training.warmup.callback import WarmupCallback

    callback = WarmupCallback(
        run, reward, out=out, labels=labels.learnt, held_back=labels.held_back, rule=rule, probe=probe, on_probe=on_probe
    )
    learner = make_learner(labels.learnt, model, out=out, options=options, config=config, callbacks=[callback])
    try:
        learner.trainer.train(resume_from_checkpoint=learner.trainer.args.resume_from_checkpoint)
    except KeyboardInterrupt:
        callback.finish(interrupted=True)
        raise
    finally:
        callback.close()
    choice = callback.choice
    assert choice is not None
    return Warmed(
        out=out,
        checkpoint=callback.policy or out / "policy",
        curve=callback.curve,
        chosen_step=choice.step,
        why=choice.why,
        seconds=round(time.monotonic() - begun, 3),
        cause=choice.cause,
        recovered=choice.recovered,
        labels=len(labels.learnt),
        held_back=len(labels.held_back),
        notes=labels.notes,
        is_main=bool(learner.trainer.accelerator.is_main_process),
    )


def _with_rewards(labels: Labels, reward: LoadedReward, run: Run) -> Labels:
    """Refuse answers that the reward thinks nothing of: learning them cannot make prompts recover."""
    rows = [*labels.learnt, *labels.held_back]
    scores = reward.score(
        [Prompt(f"label-{i}", row["prompt"], row["columns"]) for i, row in enumerate(rows)],
        [Completion(row["completion"], 0, False) for row in rows],
    )
    values = [score.reward for score in scores if score.reward is not None]
    lo, hi = run.summary.reward.range
    low = sum(value <= lo + 0.05 * (hi - lo) for value in values)
    if values and low == len(values):
        raise PromptFileError(
            f"none of the {len(values)} answers earns more than the least reward, {lo:g}: the answers or the reward are wrong (first: "
            f"{rows[0]['completion'][:60]!r} earns {values[0]:g})"
        )
    note = (f"{low} of {len(values)} answers earn next to nothing by the reward: check them",) if low else ()
    return Labels(labels.learnt, labels.held_back, (*labels.notes, *note))
