"""When to stop a warm-up, from the numbers of its probes alone: `choose`.

The benefit is the mean pass@K over the run's prompts, K the group size planned for RL: the probability that a group contains a success
(for graded rewards, something to learn from; `FittedModel.pass_at`). The cost is a price per step, because a longer warm-up takes time and
reduces what RL can still explore. design/0012 has the alternatives that were tried, and the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from flatspot.core.errors import SettingsError
from flatspot.core.shares import percent
from flatspot.training.warmup.curve import ProbeRow

CAUSES = (
    "going-on", "no-probe", "labels-solved", "nothing-vanishes", "enough", "plateau", "entropy", "held-out-loss", "prompts-lost",
    "not-a-number", "max-steps", "never-recovered",
)  # fmt: skip
"""Why a warm-up stops: the values of `Choice.cause`."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """When to stop, and which checkpoint to select. Net value of a probe: mean pass@K − price · step.

    budget_worth    the gain in pass@K that justifies all `max_steps` steps: the price of a step is budget_worth / max_steps
    max_steps       the longest warm-up; None: that of the trainer
    patience        minimum number of probes without a better net value before it stops, once recovery has begun
    hope            it also waits for as many steps as cost this share of the pass@K still to be gained: long while little has recovered,
                    when stopping too early costs most, and only a few probes at the end
    noise           two probes differ if they are this many standard errors apart
    entropy_floor   share of the initial entropy below which the entropy counts as collapsed
    loss_rise       rise of the held-out loss above its minimum, as a share of its initial value, that counts as overfitting
    lost            share of the initially learnable prompts that may be lost
    least           share of vanishing prompts at the start below which there is nothing to recover

    Collapsed entropy, a rising held-out loss and lost prompts end the warm-up at once if the net value is not improving; if it is, they
    are side effects of learning.

    >>> StopRule(max_steps=200).price
    0.0005
    """

    budget_worth: float = 0.1
    max_steps: int | None = None
    patience: int = 2
    hope: float = 0.1
    noise: float = 1.0
    entropy_floor: float = 0.1
    loss_rise: float = 0.1
    lost: float = 0.2
    least: float = 0.01

    def __post_init__(self) -> None:
        for name, least, most in (
            ("budget_worth", 0, 1),
            ("hope", 0, 1),
            ("noise", 0, 10),
            ("entropy_floor", 0, 1),
            ("loss_rise", 0, math.inf),
            ("lost", 0, 1),
            ("least", 0, 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise SettingsError(f"{name} must lie in [{least}, {most}], got {getattr(self, name)}")
        for name in ("patience", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be at least 1, got {value}")

    @property
    def price(self) -> float:
        """The gain in pass@K that justifies a step; 0 without a maximum number of steps."""
        return self.budget_worth / self.max_steps if self.max_steps else 0.0

    def net(self, row: ProbeRow) -> float:
        """Net value of a probe."""
        return float(row["ready"]["mean"]) - self.price * int(row["step"])

    def apart(self, a: ProbeRow, b: ProbeRow) -> float:
        """The difference of two probes above which it is not noise."""
        return self.noise * math.hypot(a["ready"]["sd"], b["ready"]["sd"])


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do after the last probe.

    stop       whether to end the warm-up
    step       the checkpoint to select if it ended now
    why        the reason in a sentence
    cause      one of `CAUSES`
    recovered  whether pass@K is higher at `step` than at the start, beyond noise
    """

    stop: bool
    step: int
    why: str
    cause: str
    recovered: bool


def choose(curve: Sequence[ProbeRow], rule: StopRule) -> Choice:
    """Judge a warm-up by its probes so far, the first of which is that of the start.

    curve  rows as in curve.json: step, ready {mean, sd}, vanishing {mean}; optional: entropy, heldout_loss, kept {hi}, loss,
           labels_solved; `saved`: false if the checkpoint no longer exists, which is then not selected

    Stops if the pass@K still to be gained is below the noise or the price of the next steps; if the net value has not improved, once
    recovery has begun, for `patience` probes and as long as `hope` allows; or if a guard (entropy, held-out loss, lost prompts) applies.
    Selects the earliest probe within noise of the best net value.

    >>> def row(step, ready):
    ...     return {"step": step, "ready": {"mean": ready, "sd": 0.02}, "vanishing": {"mean": 1 - ready}}
    >>> shares = [0.0, 0.01, 0.3, 0.8, 0.9, 0.9, 0.91, 0.9]
    >>> choice = choose([row(5 * i, share) for i, share in enumerate(shares)], StopRule(max_steps=100))
    >>> choice.stop, choice.step, choice.cause
    (True, 20, 'plateau')
    """
    good = [row for row in curve if _usable(row)]
    if not good:
        return Choice(
            bool(curve), 0, _WHY["not-a-number" if curve else "no-probe"].format(step=0), "not-a-number" if curve else "no-probe", False
        )
    start, last = good[0], good[-1]
    best = _best(good, rule)
    recovered = best is not start
    cause = _cause(curve, good, rule)
    if cause in ("labels-solved", "nothing-vanishes"):
        return Choice(True, int(start["step"]), _why(cause, good, start, rule), cause, False)
    if cause in ("max-steps", "prompts-lost") and not recovered:
        cause = "never-recovered" if cause == "max-steps" else cause
        best = last if cause == "never-recovered" and _improved(start, last) else start
    return Choice(cause != "going-on", int(best["step"]), _why(cause, good, best, rule), cause, recovered)


def began(curve: Sequence[ProbeRow], rule: StopRule) -> bool:
    """Whether pass@K of any probe exceeds that of the start by twice the noise."""
    return any(row["ready"]["mean"] - curve[0]["ready"]["mean"] > 2 * rule.apart(row, curve[0]) for row in curve[1:])


def _cause(curve: Sequence[ProbeRow], good: Sequence[ProbeRow], rule: StopRule) -> str:
    """Why to stop now, or "going-on"."""
    start, last = good[0], good[-1]
    if last is not curve[-1]:
        return "not-a-number"
    if last is start and (start.get("labels_solved") or 0.0) >= 0.9:
        return "labels-solved"
    if start["vanishing"]["mean"] < rule.least:
        return "nothing-vanishes"
    open_share = 1 - last["ready"]["mean"]
    if last is not start and open_share <= max(rule.noise * last["ready"]["sd"], _price_of_next(good, rule)):
        return "enough"
    still, steps = _since_better(good, rule)
    if began(good, rule):
        hopeless = not rule.price or rule.price * steps >= -1e-12 + rule.hope * (1 - max(row["ready"]["mean"] for row in good))
        if still >= rule.patience and hopeless:
            return "plateau"
        if still and (symptom := _symptom(good, rule)):
            return symptom
    if still >= rule.patience and all(_lost(row, rule) for row in good[-rule.patience :]):
        return "prompts-lost"
    if rule.max_steps is not None and last["step"] >= rule.max_steps:
        return "max-steps"
    return "going-on"


def _symptom(good: Sequence[ProbeRow], rule: StopRule) -> str | None:
    start, last = good[0], good[-1]
    before, now = start.get("entropy"), last.get("entropy")
    if _finite(before) and _finite(now) and now < rule.entropy_floor * before:
        return "entropy"
    if _rise(good) > rule.loss_rise:
        return "held-out-loss"
    return "prompts-lost" if _lost(last, rule) else None


def _rise(good: Sequence[ProbeRow]) -> float:
    """Rise of the held-out loss above its minimum, as a share of its first value."""
    losses = [loss for row in good if _finite(loss := row.get("heldout_loss"))]
    return (losses[-1] - min(losses)) / losses[0] if losses and losses[0] > 0 and _finite(good[-1].get("heldout_loss")) else 0.0


def _lost(row: ProbeRow, rule: StopRule) -> bool:
    still_learnable = row.get("kept")
    return still_learnable is not None and still_learnable["hi"] < 1 - rule.lost


def _price_of_next(good: Sequence[ProbeRow], rule: StopRule) -> float:
    steps = good[-1]["step"] - good[-2]["step"] if len(good) > 1 else 0
    return rule.price * steps


def _since_better(good: Sequence[ProbeRow], rule: StopRule) -> tuple[int, int]:
    """Number of (probes, steps) since the last one that was better than all before it by more than noise."""
    at = 0
    for i in range(1, len(good)):
        if _better(good[i], good[at], rule):
            at = i
    return len(good) - 1 - at, int(good[-1]["step"]) - int(good[at]["step"])


def _better(a: ProbeRow, b: ProbeRow, rule: StopRule) -> bool:
    return rule.net(a) - rule.net(b) > rule.apart(a, b)


def _best(good: Sequence[ProbeRow], rule: StopRule) -> ProbeRow:
    """The earliest probe with an existing checkpoint within noise of the best net value."""
    existing = [row for row in good if row.get("saved", True)] or [good[0]]
    best = max(existing, key=rule.net)
    return next(row for row in existing if not _better(best, row, rule))


def _improved(start: ProbeRow, last: ProbeRow) -> bool:
    """Whether the held-out loss, or else the mean reward, improved although no prompt recovered."""
    before, now = start.get("heldout_loss"), last.get("heldout_loss")
    if _finite(before) and _finite(now):
        return now < before
    before, now = start.get("reward"), last.get("reward")
    return _finite(before) and _finite(now) and now > before


def _finite(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; a row of curve.json may hold anything."""
    return isinstance(value, int | float) and math.isfinite(value)


def _usable(row: ProbeRow) -> bool:
    """Whether a probe can be judged: the policy's outputs were finite, and some completions were scored."""
    loss, ready = row.get("loss"), row.get("ready") or {}
    return _finite(ready.get("mean")) and _finite(ready.get("sd")) and (loss is None or _finite(loss))


_WHY = {
    "no-probe": "nothing was probed yet",
    "going-on": "mean pass@K is {pass_at_k}, and it may still rise",
    "labels-solved": "the policy already solves {solved} of the labeled prompts, so they teach it nothing: label vanishing prompts",
    "nothing-vanishes": "almost none of the prompts vanish ({vanishing}): start RL without a warm-up",
    "enough": "mean pass@K is {pass_at_k}, and further steps would cost more than they could gain",
    "plateau": "mean pass@K is {pass_at_k}, and {patience} more probes gained no more than their steps cost",
    "entropy": "the entropy fell to {entropy} of its initial value while pass@K did not improve",
    "held-out-loss": "the loss on held-out labels rose above its minimum by {rise} of its initial value while pass@K did not improve",
    "prompts-lost": "at most {learnable} of the prompts that were learnable at the start still are, and pass@K did not improve",
    "not-a-number": "the policy's outputs are not finite after step {step}: lower the learning rate",
    "max-steps": "it reached its last step ({steps}), with mean pass@K {pass_at_k}",
    "never-recovered": "pass@K did not rise beyond noise in {steps}: check the answers and their rewards, add labels, or train for more "
    "steps",
}


def _why(cause: str, good: Sequence[ProbeRow], best: ProbeRow, rule: StopRule) -> str:
    start, last = good[0], good[-1]
    before, now = start.get("entropy"), last.get("entropy")
    return _WHY[cause].format(
        step=last["step"],
        steps=f"{last['step']} step{'s' if last['step'] != 1 else ''}",
        pass_at_k=percent(best["ready"]["mean"]),
        vanishing=percent(start["vanishing"]["mean"]),
        solved=percent(start.get("labels_solved") or 0.0),
        patience=rule.patience,
        entropy=percent(now / before if _finite(now) and before else 0.0),
        rise=percent(_rise(good)),
        learnable=percent((last.get("kept") or {}).get("hi", 1.0)),
    )
