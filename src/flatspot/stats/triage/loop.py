"""Label every prompt with as few samples as a stated error allows: draw, fit, stop each prompt where another sample is not worth it.

`triage` runs the loop over a `draw` function. The same loop is there in steps for callers that draw on an engine: `start(plan)`, then
`next_round(state)` says whom to draw and how often, `absorb(state, round, rewards)` takes the rewards in, until `next_round` is None;
`finish(state)` is the answer. Each step depends on the plan and the rewards alone, so a run that was killed and replayed from its stored
rewards takes the same decisions. The error that is stated is the Bayes one under the fitted distribution: `stopping` has the rule,
`models` the rewards that are not binary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from flatspot.stats.decide import decide, give_verdicts, may_exceed
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.binary import are_ends, state_table, two_ends
from flatspot.stats.models.fitted import FittedModel, fit
from flatspot.stats.triage.draws import Draw, Draws, ask, checked
from flatspot.stats.triage.plan import Plan
from flatspot.stats.triage.result import Triage, evidence_of_draws
from flatspot.stats.triage.stopping import Flags, Priced, StoppingRule, kinds_of, priced_rules

PILOT_SAMPLES = 4
_USUAL_SAMPLES = 8  # what a prompt takes, before anything is known
_FEW_PROMPTS = 100  # where there is doubt of any target, however many samples there are
_STRICTER, _MOST_STRICT = 0.8, 16  # how the aim falls at a time, and how many times below the target it falls at most
_REFIT_GROWTH = 1.25  # refit once this many times the samples of the last fit are there: about at 4, 5, 8, 16, 32 samples of the last


@dataclass(frozen=True)
class Round:
    """Draw `k` samples of each prompt in `indices`, which ascend."""

    indices: Ints
    k: int


@dataclass(frozen=True)
class State:
    """A triage under way: everything drawn, the rules in force (one per kind of prompt), and what they were fitted at.

    aim  the error that the rules aim at: the target, or less where the rewards leave too much doubt of it; None: the target
    """

    plan: Plan
    draws: Draws
    rules: tuple[StoppingRule, ...] = ()
    fitted_at: int = 0
    aim: float | None = None

    @cached_property
    def model(self) -> FittedModel:
        """Fitted to everything sampled."""
        zones = self.plan.zones(self.draws)
        evidence = evidence_of_draws(self.draws, zones)
        return fit(evidence, self.plan.achievable(zones, evidence.high), zones)


def start(plan: Plan) -> State:
    """Before the first sample."""
    return State(plan, Draws.none(plan.n_prompts))


def next_round(state: State) -> Round | None:
    """Whom to draw next, and how often; None when every prompt is settled or has had its samples."""
    plan, draws = state.plan, state.draws
    if draws.total == 0:
        indices = _pilot(plan)
        first = max(PILOT_SAMPLES, _per_visit(plan, _USUAL_SAMPLES))
        return Round(indices, min(first, plan.max_samples, plan.left(draws) // len(indices)))
    more = may_go_on(state)
    indices = np.flatnonzero(_open(state) & more) if _ruled(state) else np.zeros(0, np.int64)
    if len(indices) == 0:
        indices = np.flatnonzero(_undecided(state) & more)
    left = plan.left(draws)
    if len(indices) == 0 or left < 1:
        return None
    if len(indices) > left:
        return Round(indices[:left], 1)
    room = plan.max_samples - draws.drawn[indices]
    k = min(_round_size(state, indices), int(room.max()), left // len(indices))
    short = room < k  # those near the cap get what is left to them, in a round of their own
    return Round(indices[short], int(room[short].min())) if short.any() else Round(indices, k)


def _round_size(state: State, indices: Ints) -> int:
    fewest = int(state.draws.drawn[indices].min())
    # one at a time is best where there is a rule; but what stays in doubt takes long to find after each round
    few = (fewest // 8 if state.plan.worst_case else 1) if _ruled(state) else fewest // 4
    least = max(state.plan.round_size, few)
    full = min(state.plan.round_rows // len(indices), max(PILOT_SAMPLES, fewest // 2))
    return max(least, full, _per_visit(state.plan, max(fewest, PILOT_SAMPLES)))


def _per_visit(plan: Plan, expected: float) -> int:
    """How many samples to draw at a time where each time costs `visit_cost` more: least cost in all, at about `expected` further ones."""
    return int(np.sqrt(2 * plan.visit_cost * expected))


def _pilot(plan: Plan) -> Ints:
    if plan.n_prompts <= plan.pilot_prompts:
        return np.arange(plan.n_prompts)
    chosen = np.random.default_rng(plan.seed).choice(plan.n_prompts, plan.pilot_prompts, replace=False)
    return np.sort(chosen).astype(np.int64)


def _ruled(state: State) -> bool:
    """Whether the rewards are the two ends of the range, for which there is an optimal rule."""
    draws = state.draws
    return draws.two_valued and are_ends(draws.values, state.plan.zones(draws))


def may_go_on(state: State) -> Flags:
    """[M] prompts below the cap whose reward has not failed every time of four."""
    draws = state.draws
    failing = (draws.scored == 0) & (draws.drawn >= PILOT_SAMPLES)
    return np.asarray((draws.drawn < state.plan.max_samples) & ~failing)


def _open(state: State) -> Flags:
    """[M] prompts another sample of which is worth its price."""
    plan, draws = state.plan, state.draws
    zones = plan.zones(draws)
    n, hits = np.minimum(draws.scored, plan.max_samples), draws.hits(two_ends(draws.values, zones)[1])
    if len(state.rules) == 1:
        return np.asarray(state.rules[0].go[n, hits])
    return np.stack([rule.go for rule in state.rules])[kinds_of(plan.achievable(zones))[1], n, hits]


def _undecided(state: State) -> Flags:
    """[M] prompts that would not be given a verdict now: of rewards without a rule, and where small sets judge more strictly than it."""
    return ~give_verdicts(state.model, state.plan.target_error, worst_case=state.plan.worst_case).decided


def absorb(state: State, asked: Round, rewards: Any) -> State:
    """The state after a round: [m, k] rewards, NaN where the reward failed. Raises `DrawError` for anything that is no reward."""
    plan = state.plan
    fresh = checked(state.draws, asked.indices, asked.k, rewards, None)
    draws = state.draws.add(asked.indices, fresh)
    after = replace(state, draws=draws)
    if not _ruled(after):
        return State(plan, draws)
    due = not state.rules or draws.total >= _REFIT_GROWTH * state.fitted_at or draws.values != state.draws.values
    if due or not (_open(after) & may_go_on(after)).any():  # no rule is the last word before it was fitted to everything
        after = _refitted(after)
    return after


def _refitted(state: State) -> State:
    """With rules fitted to everything drawn; where they would end it in too much doubt of the target, with ones that aim at less error."""
    plan, draws = state.plan, state.draws
    aim = plan.target_error if state.aim is None else state.aim
    priced = _priced(plan, draws)
    state = replace(state, rules=priced.meeting(aim), fitted_at=draws.total)
    if plan.n_prompts < _FEW_PROMPTS and not plan.worst_case:
        return state
    more = may_go_on(state)
    if not more.any() or (_open(state) & more).any() or aim <= plan.target_error / _MOST_STRICT or not _may_exceed(state):
        return state
    while aim > plan.target_error / _MOST_STRICT and not (_open(state) & more).any():
        aim *= _STRICTER
        state = replace(state, rules=priced.meeting(aim), aim=aim)
    return state


def _may_exceed(state: State) -> bool:
    """Whether the error of the verdicts as they stand may be far above the target: see `stats.decide`."""
    plan, model = state.plan, state.model
    return may_exceed(model, decide(model.loss, model.n, plan.target_error), plan.target_error, worst_case=plan.worst_case)


def _priced(plan: Plan, draws: Draws) -> Priced:
    """The rules at every price under g fitted to everything drawn so far."""
    zones = plan.zones(draws)
    low, high = two_ends(draws.values, zones)
    r_star, kind = kinds_of(plan.achievable(zones))
    seen = np.stack([kind, np.minimum(draws.scored, plan.max_samples), draws.hits(high)], -1)
    _, losses = state_table(zones, low, high, r_star)
    return priced_rules(seen, losses, max_samples=plan.max_samples, most_draws=plan.left(draws))


def finish(state: State) -> Triage:
    """The verdicts on everything drawn so far; good at any time, also before `next_round` is None."""
    plan, draws = state.plan, state.draws
    decisions = give_verdicts(state.model, plan.target_error, worst_case=plan.worst_case)
    return Triage(draws, plan.zones(draws), state.model, decisions)


def triage(
    draw: Draw,
    n_prompts: int,
    *,
    epsilon: float = 0.05,
    target_error: float = 0.03,
    max_samples: int = 64,
    round_size: int = 1,
    seed: int = 0,
    reward_range: tuple[float, float] | None = None,
    r_star: Floats | None = None,
    max_total: int | None = None,
    worst_case: bool = False,
    kept: Draws | None = None,
) -> Triage:
    """Label prompts 0 .. n_prompts - 1 at a mean error of `target_error`, with as few samples as that takes.

    draw : (indices int [m], k) -> float [m, k] rewards, NaN where the reward failed
    kept : samples of an earlier, interrupted call (`DrawError.draws` or `Triage.draws`): used before anything is drawn

    The other settings are those of `Plan`. Raises `DrawError`, which carries every sample so far, and `SettingsError`.

    >>> rng = np.random.default_rng(0)
    >>> p = np.repeat([0.0, 0.5, 1.0], 100)
    >>> t = triage(lambda i, k: rng.random((len(i), k)) < p[i, None], 300)
    >>> [int((t.verdict[s : s + 100] == name).sum()) for s, name in [(0, "vanishing"), (100, "learnable"), (200, "solved")]]
    [100, 97, 100]
    >>> round(float(t.n_samples.mean()), 1), round(t.predicted_error, 2)
    (5.6, 0.03)
    """
    plan = Plan(n_prompts, epsilon, target_error, max_samples, round_size, seed, reward_range, r_star, max_total, worst_case=worst_case)
    state = start(plan)
    while (asked := next_round(state)) is not None:
        rewards = ask(draw, state.draws, asked.indices, asked.k, reward_range, kept)
        state = absorb(state, asked, rewards)
    return finish(state)
