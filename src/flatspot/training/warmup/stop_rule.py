"""When a warm-up has done its work, from the numbers of its probes alone: `choose`.

A prompt is *ready* for RL where a group of the planned size holds something to learn from (pass@K, `FittedModel.pass_at`): one success or
more. Against the share that is ready stands a price per step, for a longer warm-up costs time, and narrows what RL can still explore.
design/0012 has what else was tried, and what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flatspot.core.errors import SettingsError
from flatspot.core.shares import percent

Row = Mapping[str, Any]

CAUSES = (
    "going-on", "no-probe", "labels-solved", "nothing-vanishes", "enough", "plateau", "entropy", "held-out-loss", "prompts-lost",
    "not-a-number", "max-steps", "never-recovered",
)  # fmt: skip
"""Why a warm-up stops, as `Choice.cause` says it."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """When to stop, and which checkpoint to take. Net value of a probe: share of prompts ready − price · step.

    budget_worth    the share of prompts that all `max_steps` together are worth: the price of a step is budget_worth / max_steps
    max_steps       the longest warm-up; None: as long as the trainer's
    patience        probes without a better net value, once recovery began, before it stops, at least
    hope            it waits for as many steps as cost this share of what is still to be won: long while little recovered, which is when a
                    stop too early costs most, and only a few probes at the end
    noise           two probes differ where they are this many standard errors apart
    entropy_floor   share of the entropy at the start, below which it counts as collapsed
    loss_rise       rise of the held-out loss above its lowest, as a share of that at the start, that counts as turning up
    lost            share of the prompts learnable at the start that may be lost
    least           share of vanishing prompts at the start below which there is nothing to recover

    Collapsed entropy, a held-out loss that turns up and lost prompts end the warm-up at once where the net value is not improving either;
    where it is, they are what learning looks like.
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
        """Share of the prompts that a step must bring; 0 where nobody knows how many there are."""
        return self.budget_worth / self.max_steps if self.max_steps else 0.0

    def net(self, row: Row) -> float:
        """Net value of a probe."""
        return float(row["ready"]["mean"]) - self.price * int(row["step"])

    def apart(self, a: Row, b: Row) -> float:
        """How far two probes must differ not to be noise."""
        return self.noise * math.hypot(a["ready"]["sd"], b["ready"]["sd"])


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do after the last probe.

    stop       whether to end the warm-up
    step       the checkpoint to take if it ended now
    why        in a sentence
    cause      one of `CAUSES`
    recovered  whether more prompts are ready at `step` than at the start, beyond noise
    """

    stop: bool
    step: int
    why: str
    cause: str
    recovered: bool


def choose(curve: Sequence[Row], rule: StopRule) -> Choice:
    """Judge a warm-up by its probes so far, the first of which is that of the start.

    curve  rows as in curve.json: step, ready {mean, sd}, vanishing {mean}; where measured entropy, heldout_loss, kept {hi}, loss,
           labels_solved; `saved`: false where the checkpoint is gone, which is then not chosen

    Stops where what is still to be won is under the noise or the price of the next steps; where the net value has not improved, since
    recovery began, for `patience` probes and as long as `hope` allows; or where a guard speaks. Takes the earliest probe within noise of
    the best net value.

    >>> def row(step, ready):
    ...     return {"step": step, "ready": {"mean": ready, "sd": 0.02}, "vanishing": {"mean": 1 - ready}}
    >>> shares = [0.0, 0.01, 0.3, 0.8, 0.9, 0.9, 0.91, 0.9]
    >>> found = choose([row(5 * i, share) for i, share in enumerate(shares)], StopRule(max_steps=100))
    >>> found.stop, found.step, found.cause
    (True, 20, 'plateau')
    """
    good = [row for row in curve if _finite(row)]
    if not good:
        return Choice(
            bool(curve), 0, _WHY["not-a-number" if curve else "no-probe"].format(step=0), "not-a-number" if curve else "no-probe", False
        )
    start, last = good[0], good[-1]
    taken = _taken(good, rule)
    recovered = taken is not start
    cause = _cause(curve, good, rule)
    if cause in ("labels-solved", "nothing-vanishes"):
        return Choice(True, int(start["step"]), _says(cause, curve, good, start, rule), cause, False)
    if cause in ("max-steps", "prompts-lost") and not recovered:
        cause = "never-recovered" if cause == "max-steps" else cause
        taken = last if cause == "never-recovered" and _moved(start, last) else start
    return Choice(cause != "going-on", int(taken["step"]), _says(cause, curve, good, taken, rule), cause, recovered)


def began(curve: Sequence[Row], rule: StopRule) -> bool:
    """Whether any probe has more prompts ready than the start, by twice the noise."""
    return any(row["ready"]["mean"] - curve[0]["ready"]["mean"] > 2 * rule.apart(row, curve[0]) for row in curve[1:])


def _cause(curve: Sequence[Row], good: Sequence[Row], rule: StopRule) -> str:
    """Why to stop now, or "going-on"."""
    start, last = good[0], good[-1]
    if last is not curve[-1]:
        return "not-a-number"
    if last is start and start.get("labels_solved") is not None and start["labels_solved"] >= 0.9:
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


def _symptom(good: Sequence[Row], rule: StopRule) -> str | None:
    start, last = good[0], good[-1]
    if _has(start, "entropy") and _has(last, "entropy") and last["entropy"] < rule.entropy_floor * start["entropy"]:
        return "entropy"
    if _rise(good) > rule.loss_rise:
        return "held-out-loss"
    return "prompts-lost" if _lost(last, rule) else None


def _rise(good: Sequence[Row]) -> float:
    """How far the held-out loss is above its lowest, as a share of the first one measured."""
    losses = [float(row["heldout_loss"]) for row in good if _has(row, "heldout_loss")]
    return (losses[-1] - min(losses)) / losses[0] if losses and losses[0] > 0 and _has(good[-1], "heldout_loss") else 0.0


def _lost(row: Row, rule: StopRule) -> bool:
    kept = row.get("kept")
    return kept is not None and kept["hi"] < 1 - rule.lost


def _price_of_next(good: Sequence[Row], rule: StopRule) -> float:
    steps = good[-1]["step"] - good[-2]["step"] if len(good) > 1 else 0
    return rule.price * steps


def _since_better(good: Sequence[Row], rule: StopRule) -> tuple[int, int]:
    """How many (probes, steps) came after the last one that beat all before it by more than noise."""
    at = 0
    for i in range(1, len(good)):
        if _better(good[i], good[at], rule):
            at = i
    return len(good) - 1 - at, int(good[-1]["step"]) - int(good[at]["step"])


def _better(a: Row, b: Row, rule: StopRule) -> bool:
    return rule.net(a) - rule.net(b) > rule.apart(a, b)


def _taken(good: Sequence[Row], rule: StopRule) -> Row:
    """The earliest probe, of those whose checkpoint is there, within noise of the best net value."""
    there = [row for row in good if row.get("saved", True)] or [good[0]]
    best = max(there, key=rule.net)
    return next(row for row in there if not _better(best, row, rule))


def _moved(start: Row, last: Row) -> bool:
    """Whether anything at all speaks for the last checkpoint where no prompt was seen to recover."""
    if _has(last, "heldout_loss") and _has(start, "heldout_loss"):
        return bool(last["heldout_loss"] < start["heldout_loss"])
    return bool(_has(last, "reward") and _has(start, "reward") and last["reward"] > start["reward"])


def _has(row: Row, name: str) -> bool:
    value = row.get(name)
    return value is not None and math.isfinite(value)


def _finite(row: Row) -> bool:
    """Whether a probe can be judged: its policy gave numbers, and something could be scored."""
    loss, ready = row.get("loss"), row.get("ready") or {}
    known = all(isinstance(ready.get(name), int | float) and math.isfinite(ready[name]) for name in ("mean", "sd"))
    return known and (loss is None or math.isfinite(loss))


_WHY = {
    "no-probe": "nothing was probed yet",
    "going-on": "{ready} of the prompts are ready for RL, and more may follow",
    "labels-solved": "the policy already solves {solved} of the labelled prompts, so they teach it nothing: label vanishing prompts",
    "nothing-vanishes": "next to none of the prompts vanish ({vanishing}): start RL as it is",
    "enough": "{ready} of the prompts are ready for RL, and what is left to win is worth no further steps",
    "plateau": "{ready} of the prompts are ready for RL, and {patience} further probes brought no more than their steps cost",
    "entropy": "the entropy has fallen to {entropy} of its start while no more prompts became ready",
    "held-out-loss": "the loss on held-back labels has risen from its lowest by {rise} of its start while no more prompts became ready",
    "prompts-lost": "at most {kept} of the prompts that were learnable at the start still are, and no others became ready",
    "not-a-number": "the policy gave no finite numbers after step {step}: lower the learning rate",
    "max-steps": "it took all its steps ({steps}), with {ready} of the prompts ready for RL",
    "never-recovered": "no more prompts are ready for RL after {steps} than at the start, beyond noise: check the answers and the "
    "reward on them, give more labels, or more steps",
}


def _says(cause: str, curve: Sequence[Row], good: Sequence[Row], taken: Row, rule: StopRule) -> str:
    start, last = good[0], good[-1]
    return _WHY[cause].format(
        step=last["step"],
        steps=f"{last['step']} step{'s' if last['step'] != 1 else ''}",
        ready=percent(taken["ready"]["mean"]),
        vanishing=percent(start["vanishing"]["mean"]),
        solved=percent(start.get("labels_solved") or 0.0),
        patience=rule.patience,
        entropy=percent(last["entropy"] / start["entropy"] if _has(last, "entropy") and start.get("entropy") else 0.0),
        rise=percent(_rise(good)),
        kept=percent((last.get("kept") or {}).get("hi", 1.0)),
    )
