"""Which prompts to draw next, and how often: draw, fit, stop each prompt where another completion is not worth its price.

A `State` is everything drawn and the rules in force: `start(plan)`, then `next_round(state)` and `absorb(state, round, rewards)` until
`next_round` is None; `finish(state)` is the answer. Each step depends on the plan and the rewards alone, so a run that was killed and
replayed from its stored rewards takes the same decisions. `Adaptive` is the same for `rollouts.rounds.run_rounds`. The error that is stated
is the Bayes one under the fitted distribution: `stopping` has the rule, `models` the rewards that are not binary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from flatspot.rollouts.rounds import Round, Seen
from flatspot.stats.decide import FEWEST_REWARDS, decide, give_verdicts, in_doubt, may_exceed
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.known_mass import KnownMass, known_mass
from flatspot.stats.models.binary import are_ends, state_table, two_ends
from flatspot.stats.models.fitted import FittedModel, fit
from flatspot.stats.models.identified_set import too_few
from flatspot.stats.models.proved import Proof, hold_to_proof, proof_of
from flatspot.stats.models.unseen_binary import FEWEST_KNOWN, NewDraws
from flatspot.stats.triage.ahead import Flags, KnownPrompts
from flatspot.stats.triage.draws import Draws, checked
from flatspot.stats.triage.plan import Plan
from flatspot.stats.triage.result import Triage, evidence_of_draws
from flatspot.stats.triage.stopping import PriceList, StoppingRule, priced_rules

_ENOUGH = 4  # completions: of which all failed, that a prompt's reward never works; of graded rewards, under which none is judged
_USUAL_COMPLETIONS = 8  # what a prompt takes, before anything is known
_FEW_PROMPTS = 100  # where there is doubt of any target, however many completions there are
_STRICTER, _MOST_STRICT = 0.8, 16  # how the aim falls at a time, and how many times below the target it falls at most
_DRAWN_ON = 1.4  # times the completions at which the target is met, at most, where only a worst case speaks against ending there
_REFIT_GROWTH = 1.25  # refit once there are this many times the completions of the last fit: about at 4, 5, 8, 16, 32 of the last prompts


@dataclass(frozen=True)
class State:
    """A triage under way: everything drawn, the rule in force (None before there is one), and what it was fitted at.

    aim    the error that the rule aims at: the target, or less where the rewards leave too much doubt of it; None: the target
    ended  completions in all when the rule would first have ended it, aiming at the target; None: not yet
    most   completions in all that the rule may lead to: those of the plan, or fewer where it goes on for doubt of its error
    seen   the completions of each round of `draws`; a round whose probabilities are not known has None
    """

    plan: Plan
    draws: Draws
    rule: StoppingRule | None = None
    fitted_at: int = 0
    aim: float | None = None
    ended: int | None = None
    most: float = np.inf
    seen: tuple[Seen | None, ...] = ()

    @cached_property
    def fitted(self) -> FittedModel:
        """Fitted to everything sampled."""
        zones = self.plan.zones(self.draws)
        evidence = evidence_of_draws(self.draws, zones)
        return fit(evidence, self.plan.achievable(evidence.high), zones)

    @cached_property
    def model(self) -> FittedModel:
        """The fitted model, held to what is proved."""
        return hold_to_proof(self.fitted, self.proof)

    @cached_property
    def proof(self) -> Proof | None:
        """What the probabilities of the completions prove; None where nothing can be."""
        known = self._known()
        if known is None:
            return None
        best = np.full(self.plan.n_prompts, np.nan)
        np.fmax.at(best, known.prompt, known.reward)
        return proof_of(known, self.plan.achievable(best), self.plan.zones(self.draws), binary=self.fitted.family == "binary")

    @cached_property
    def known_prompts(self) -> KnownPrompts | None:
        """The prompts, not proved, that go by their new draws: whose known mass is not small; None where there are none."""
        if self.proof is None or self.proof.known.firsts is None or self.fitted.family != "binary":
            return None
        zones, rows = self.plan.zones(self.draws), np.flatnonzero((self.proof.known.total >= FEWEST_KNOWN) & ~self.proof.holds)
        if len(rows) == 0:
            return None
        return KnownPrompts(rows, NewDraws.of(self.proof.known.firsts, zones.lo, zones.hi), zones, *two_ends(self.draws.values, zones))

    @cached_property
    def known_go(self) -> Flags:
        """[m] of `known_prompts`, those another completion of which is worth its price."""
        if self.known_prompts is None or self.rule is None:
            return np.zeros(0, bool)
        return np.asarray(self.known_prompts.ahead(np.array([self.rule.price])).go[0])

    def _known(self) -> KnownMass | None:
        told = [(indices, rewards, seen) for (indices, rewards), seen in zip(self.draws.rounds, self.seen, strict=True) if seen is not None]
        if not told or not self.plan.proofs or self.plan.reward_range is None:
            return None
        prompt = np.concatenate([np.repeat(indices, rewards.shape[1]) for indices, rewards, _ in told])
        reward = np.concatenate([rewards.ravel() for _, rewards, _ in told])
        completion, mass = (np.concatenate([getattr(seen, name).ravel() for _, _, seen in told]) for name in ("completion", "mass"))
        return known_mass(prompt, completion, reward, mass, self.plan.n_prompts)


def start(plan: Plan) -> State:
    """Before the first completion."""
    return State(plan, Draws.none(plan.n_prompts))


def next_round(state: State) -> Round | None:
    """The next round; None where every prompt is settled or has had its completions."""
    plan, draws = state.plan, state.draws
    if draws.total == 0:
        prompts = _pilot(plan)
        first = max(plan.first_completions, _per_visit(plan, _USUAL_COMPLETIONS))
        return _round(state, prompts, min(first, plan.max_completions, plan.left(draws) // len(prompts)))
    more = may_go_on(state)
    prompts = np.flatnonzero(_open(state) & more) if _ruled(state) else np.zeros(0, np.int64)
    if len(prompts) == 0:
        prompts = np.flatnonzero(_undecided(state) & more)
    if len(prompts) == 0 and _share_in_doubt(state):
        prompts = _fewest(state, more)
    left = plan.left(draws)
    if len(prompts) == 0 or left < 1:
        return None
    if len(prompts) > left:
        return _round(state, prompts[:left], 1)
    room = plan.max_completions - draws.drawn[prompts]
    k = min(_round_size(state, prompts), int(room.max()), left // len(prompts))
    short = room < k  # those near the cap get what is left to them, in a round of their own
    return _round(state, prompts[short], int(room[short].min())) if short.any() else _round(state, prompts, k)


def _fewest(state: State, more: Flags) -> Ints:
    """The prompts with the fewest completions, of those that may have more and are not proved."""
    those = more if state.proof is None else more & ~state.proof.holds
    drawn = state.draws.drawn
    return np.flatnonzero(those & (drawn == drawn[those].min())) if those.any() else np.zeros(0, np.int64)


def _round(state: State, prompts: Ints, n_completions: int) -> Round:
    return Round(prompts, state.draws.drawn[prompts], n_completions, fixed=state.draws.total == 0)


def _round_size(state: State, prompts: Ints) -> int:
    fewest = int(state.draws.drawn[prompts].min())
    # one at a time is best where there is a rule; but what stays in doubt takes long to find after each round
    few = (fewest // 8 if state.plan.worst_case else 1) if _ruled(state) else fewest // 2
    least = max(state.plan.round_size, few)
    full = min(state.plan.round_rows // len(prompts), max(_ENOUGH, fewest // 2))
    return max(least, full, _per_visit(state.plan, max(fewest, _ENOUGH)))


def _per_visit(plan: Plan, expected: float) -> int:
    """How many to draw at a time where each time costs `visit_cost` more: least cost in all, at about `expected` further completions."""
    return int(np.sqrt(2 * plan.visit_cost * expected))


def _pilot(plan: Plan) -> Ints:
    if plan.n_prompts <= plan.pilot_prompts:
        return np.arange(plan.n_prompts)
    chosen = np.random.default_rng(plan.seed).choice(plan.n_prompts, plan.pilot_prompts, replace=False)
    return np.sort(chosen).astype(np.int64)


def _ruled(state: State) -> bool:
    """Whether the rewards are the two ends of the range, for which there is an optimal rule."""
    draws = state.draws
    return draws.binary and are_ends(draws.values, state.plan.zones(draws))


def may_go_on(state: State) -> Flags:
    """[M] prompts below the cap whose reward has not failed every time of four."""
    draws = state.draws
    failing = (draws.scored == 0) & (draws.drawn >= _ENOUGH)
    return np.asarray((draws.drawn < state.plan.max_completions) & ~failing)


def _open(state: State) -> Flags:
    """[M] prompts another completion of which is worth its price."""
    plan, draws = state.plan, state.draws
    zones = plan.zones(draws)
    if state.rule is None:
        return np.ones(plan.n_prompts, bool)
    horizon = len(state.rule.go) - 1  # from where on no prompt goes on
    n, hits = draws.scored, draws.hits(two_ends(draws.values, zones)[1])
    go = np.array(state.rule.go[np.minimum(n, horizon), np.minimum(hits, horizon)])
    if (known := state.known_prompts) is not None:
        go[known.rows] = state.known_go | (n[known.rows] < FEWEST_REWARDS)
    return go if state.proof is None else go & ~state.proof.holds


def _strict(state: State) -> bool:
    """Whether the worst-case error is held to the target: asked for, or so few completions that very different sets explain them."""
    if state.plan.worst_case or not _ruled(state):
        return state.plan.worst_case
    open_ = (state.draws.scored > 0) & (True if state.proof is None else ~state.proof.holds)
    return too_few(state.draws.scored[open_])


def _undecided(state: State) -> Flags:
    """[M] prompts that would not be given a verdict now: of rewards without a rule, and where small sets judge more strictly than it."""
    undecided = ~give_verdicts(state.model, state.plan.target_error, worst_case=_strict(state)).decided
    return undecided if _ruled(state) else undecided | (state.draws.drawn < _ENOUGH)


def absorb(state: State, drawn: Round, rewards: Any, seen: Seen | None = None) -> State:
    """The state after a round: [m, k] rewards, NaN where the reward failed. Raises `DrawError` for anything that is no reward."""
    plan = state.plan
    fresh = checked(state.draws, drawn.prompts, drawn.n_completions, rewards, None)
    draws = state.draws.add(drawn.prompts, fresh)
    after = replace(state, draws=draws, seen=(*state.seen, seen))
    if not _ruled(after):
        return State(plan, draws, seen=after.seen)
    due = state.rule is None or draws.total >= _REFIT_GROWTH * state.fitted_at or draws.values != state.draws.values
    if due or not (_open(after) & may_go_on(after)).any():  # no rule is the last word before it was fitted to everything
        after = _refitted(after)
    return after


def _refitted(state: State) -> State:
    """With the rule fitted to everything drawn; where it would end it in too much doubt of the target, with one that aims at less error.

    What crowds at a threshold take to show would cost every other set two thirds more, so there is an end to that.
    """
    plan, draws = state.plan, state.draws
    aim = plan.target_error if state.aim is None else state.aim
    price_list = _price_list(state)
    state = replace(state, rule=price_list.meeting(aim), fitted_at=draws.total)
    more = may_go_on(state)
    if not more.any() or (_open(state) & more).any() or aim <= plan.target_error / _MOST_STRICT:
        return state
    ended = draws.total if state.ended is None else state.ended
    share = _share_in_doubt(state)
    most = np.inf if share or plan.worst_case else _DRAWN_ON * ended
    if draws.total >= most or not (share or _may_exceed(state)):
        return state
    state = replace(state, ended=ended, most=most)
    price_list = replace(price_list, most_draws=_left(state))
    while aim > plan.target_error / _MOST_STRICT and not (_open(state) & more).any():
        aim *= _STRICTER
        state = replace(state, rule=price_list.meeting(aim), aim=aim)
    return state


def _share_in_doubt(state: State) -> bool:
    """Whether a share that the verdict on the set rests on may well be on either side of its limit: see `stats.decide`."""
    plan = state.plan
    return any(in_doubt(state.model, kind, limit, plan.target_error) for kind, limit in plan.share_limits)


def _may_exceed(state: State) -> bool:
    """Whether the error of the verdicts as they stand may be far above the target: see `stats.decide`."""
    plan, model = state.plan, state.model
    if plan.n_prompts < _FEW_PROMPTS and not plan.worst_case:
        return False
    return may_exceed(model, decide(model.loss, model.n, plan.target_error, model.states), plan.target_error, worst_case=_strict(state))


def _price_list(state: State) -> PriceList:
    """The rules at every price under g fitted to everything drawn so far."""
    plan, draws = state.plan, state.draws
    zones = plan.zones(draws)
    low, high = two_ends(draws.values, zones)
    counts = np.stack([np.minimum(draws.scored, plan.max_completions), draws.hits(high)], -1)
    proved = None if state.proof is None else state.proof.holds
    loss = state_table(zones, low, high)[1]
    return priced_rules(
        counts, loss, max_completions=plan.max_completions, most_draws=_left(state), proved=proved, known=state.known_prompts
    )


def _left(state: State) -> float:
    """Completions that the rule may yet lead to."""
    return min(state.plan.left(state.draws), max(state.most - state.draws.total, 0.0))


def finish(state: State) -> Triage:
    """The verdicts on everything drawn so far; good at any time, also before `next_round` is None."""
    plan, draws = state.plan, state.draws
    decisions = give_verdicts(state.model, plan.target_error, worst_case=_strict(state))
    return Triage(draws, plan.zones(draws), state.model, decisions, held=plan.worst_case)


class Adaptive:
    """A `rollouts.rounds.Decider`: each prompt is drawn until another completion is not worth its price.

    state  everything absorbed so far; `finish(state)` is the answer
    """

    adaptive = True

    def __init__(self, plan: Plan) -> None:
        self.proves = plan.proofs and plan.reward_range is not None
        self.state = start(plan)
        self._next: Round | None = None
        self._next_of: State | None = None  # the state that it was decided in

    def next_round(self) -> Round | None:
        """The prompts that are not settled; at first the pilot."""
        if self._next_of is not self.state:
            self._next, self._next_of = next_round(self.state), self.state
        return self._next

    def absorb(self, drawn: Round, rewards: Floats, seen: Seen | None = None) -> None:
        """Fit, and find the rule anew where it is due."""
        self.state = absorb(self.state, drawn, rewards, seen)

    def most_completions(self) -> int:
        """As if every prompt that is not settled took all it may."""
        plan, draws, following = self.state.plan, self.state.draws, self.next_round()
        if draws.total == 0:
            return plan.left(draws)
        still = 0 if following is None else int((plan.max_completions - draws.drawn[following.prompts]).sum())
        return draws.total + min(still, plan.left(draws))
