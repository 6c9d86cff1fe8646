"""The warm-up: SFT on a few labels that stops by itself once RL can take over, and the checkpoint to start RL from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flatspot.core.errors import PromptFileError, SettingsError, TrainingError
from flatspot.core.optional import require
from flatspot.core.plain import Json
from flatspot.core.records import Completion, Prompt
from flatspot.rewards import LoadedReward, load_reward
from flatspot.runs.run import Run, as_run
from flatspot.tasks import Source
from flatspot.training.folders import own_folder
from flatspot.training.inputs import ModelSource, RewardSource
from flatspot.training.named import named_by_run
from flatspot.training.ranks import rank
from flatspot.training.warmup.checkpoints import WARMUP, WARMUP_NAMES, is_older_warmup
from flatspot.training.warmup.curve import ProbeRow
from flatspot.training.warmup.labels import Labels, hold_out, read_labels
from flatspot.training.warmup.probe import ProbeSettings
from flatspot.training.warmup.sft import make_learner, sft
from flatspot.training.warmup.stop_rule import Choice, StopRule
from flatspot.training.warmup.template_values import template_values


@dataclass(frozen=True)
class WarmupResult:
    """A finished warm-up.

    checkpoint        the folder of the policy to start RL from
    curve             the rows of curve.json; empty without probes
    chosen_step       the step of the checkpoint; 0: the initial policy
    why, cause        why it stopped, as a sentence and as one of `stop_rule.CAUSES`
    recovered         whether pass@K is higher than at the start, beyond noise
    labels, held_out  number of labels in the training, and held out
    notes             notes on the labels
    is_main           whether this is the first process of a distributed training
    """

    out: Path
    checkpoint: Path
    curve: list[ProbeRow] = field(repr=False)
    chosen_step: int
    why: str
    seconds: float
    cause: str = "max-steps"
    recovered: bool = False
    labels: int = 0
    held_out: int = 0
    notes: tuple[str, ...] = ()
    is_main: bool = True

    @property
    def held_back(self) -> int:
        """The old name of `held_out`."""
        return self.held_out


def warmup(
    labels: Source,
    model: ModelSource | None = None,
    reward: RewardSource | None = None,
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
    on_probe: Callable[[ProbeRow, Choice], None] | None = None,
    template_kwargs: Mapping[str, Json] | None = None,
) -> WarmupResult:
    """SFT on a few labels; stops by itself once RL can take over.

    labels           a file or rows with the prompt and `answer_col`; see `read_labels`
    model            as for `sft`; None: that of the run
    reward           as for `diagnose`; None: that of the run, with its weights
    run              a judged run folder: its prompts without a label are probed
    out              the folder of curve.json, warmup.json and policy/; refused if it has such files from another source
    rule             when to stop; None: never, and nothing is probed
    options, config  as for `sft`; their max_steps or num_train_epochs limit the length of the warm-up
    seed             of the probes and of the held-out labels; the seed of the training itself is --seed of the options
    template_kwargs  values for the chat template; None: those that the run was drawn with

    Ctrl-C keeps the checkpoint selected so far, and the curve. Raises `FlatspotError` for any error that the user can fix.
    """
    require("trl", extra="train", purpose="flatspot warmup")
    begun, out = time.monotonic(), Path(out)
    run = as_run(run)
    if out.resolve() == run.folder.resolve():
        raise SettingsError(f"{out} is the judged run itself, which must not change: give another --out")
    model, reward, weights = named_by_run(run, model, reward, reward_weights)
    rows = read_labels(labels, run, answer_col=answer_col, allow_foreign=allow_foreign)
    values = template_values(run, template_kwargs)
    settings = replace(probe, seed=seed)
    with own_folder(out, WARMUP, WARMUP_NAMES, is_older_warmup):
        if rule is None:
            checkpoint = sft(rows.train, model, out=out, options=options, config=config, template_kwargs=values)
            why = "it ran for the length set in the options; nothing was probed"
            return WarmupResult(
                out, checkpoint, [], -1, why, time.monotonic() - begun, labels=len(rows.train), notes=rows.notes, is_main=rank() == 0
            )
        rows = hold_out(rows, probe.held_out, seed)
        loaded = reward if isinstance(reward, LoadedReward) else load_reward(reward, weights=weights, timeout_s=reward_timeout_s)
        try:
            rows = _check_rewards(rows, loaded, run)
            return _run(rows, model, loaded, run, out, rule, settings, options, config, on_probe, values, begun)
        finally:
            if loaded is not reward:
                loaded.close()


def _run(
    labels: Labels,
    model: ModelSource,
    reward: LoadedReward,
    run: Run,
    out: Path,
    rule: StopRule,
    probe: ProbeSettings,
    options: Sequence[str],
    config: str | Path | None,
    on_probe: Callable[[ProbeRow, Choice], None] | None,
    values: Mapping[str, Json],
    begun: float,
) -> WarmupResult:
    from flatspot.training.warmup.callback import WarmupCallback

    callback = WarmupCallback(
        run,
        reward,
        out=out,
        labels=labels.train,
        held_out=labels.held_out,
        rule=rule,
        probe=probe,
        on_probe=on_probe,
        template_kwargs=values,
    )
    learner = make_learner(
        labels.train, model, out=out, options=options, config=config, callbacks=[callback], probed=True, template_kwargs=values
    )
    try:
        learner.trainer.train(resume_from_checkpoint=learner.trainer.args.resume_from_checkpoint)
    except KeyboardInterrupt:
        callback.finish(interrupted=True)
        raise
    finally:
        callback.close()
    choice = callback.choice
    if choice is None:
        raise TrainingError("the training ended before its first probe")
    return WarmupResult(
        out=out,
        checkpoint=callback.policy or out / "policy",
        curve=callback.curve,
        chosen_step=choice.step,
        why=choice.why,
        seconds=round(time.monotonic() - begun, 3),
        cause=choice.cause,
        recovered=choice.recovered,
        labels=len(labels.train),
        held_out=len(labels.held_out),
        notes=labels.notes,
        is_main=bool(learner.trainer.accelerator.is_main_process),
    )


def _check_rewards(labels: Labels, reward: LoadedReward, run: Run) -> Labels:
    """Refuse answers that all have the lowest reward, because training on them cannot help; add a note if some have."""
    rows = [*labels.train, *labels.held_out]
    scores = reward.score(
        [Prompt(f"label-{i}", row["prompt"], row["columns"]) for i, row in enumerate(rows)],
        [Completion(row["completion"], 0, False) for row in rows],
    )
    values = [score.reward for score in scores if score.reward is not None]
    lo, hi = run.summary.reward.range
    low = sum(value <= lo + 0.05 * (hi - lo) for value in values)
    if values and low == len(values):
        raise PromptFileError(
            f"none of the {len(values)} answers has more than the lowest reward, {lo:g}: the answers or the reward are wrong (the first, "
            f"{rows[0]['completion'][:60]!r}, has {values[0]:g})"
        )
    note = (f"{low} of {len(values)} answers have almost no reward: check them",) if low else ()
    return Labels(labels.train, labels.held_out, (*labels.notes, *note))
