"""Label every prompt with as few samples as a stated error allows: draw, fit, stop each prompt where another sample is not worth it.

`triage` runs the loop over a `draw` function. The same loop is there in steps for callers that draw on an engine: `start(plan)`, then
`next_round(state)` says whom to draw and how often, `absorb(state, round, rewards)` takes the rewards in, until `next_round` is None;
`finish(state)` is the answer. Each step depends on the plan and the rewards alone, so a run that was killed and replayed from its stored
rewards takes the same decisions. The error that is stated is the Bayes one under the fitted distribution: `stopping` has the rule,
`families` the rewards that are not two-valued.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.stats.certificate import Certifier
from flatspot.stats.draws import Draw, Draws, ask, checked
from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.many_valued import unsettled_many
from flatspot.stats.outcome import Triage, conclude
from flatspot.stats.stopping import PRICES, Flags, StoppingRule, cheapest_rule, outlook, stopping_rules
from flatspot.stats.two_valued import fit_pairs, flat_prior, state_table, two_ends
from flatspot.stats.zones import Zones

_PILOT_SAMPLES = 4
_PILOT_PROMPTS = 1000
_REFIT_GROWTH = 1.25  # refit once this many times the samples of the last fit are there: about at 4, 5, 8, 16, 32 samples of the last


@dataclass(frozen=True)
class Plan:
    """What is to be found out, and at what price.

    n_prompts      prompts 0 .. n_prompts - 1
    epsilon        where learnable ends: see `Zones`
    target_error   the share of wrong verdicts accepted among those given
    max_samples    no prompt is drawn more often
    round_size     samples per prompt and round: more keeps an engine's batch full, and costs up to round_size - 1 samples a prompt
    seed           picks the pilot's prompts
    reward_range   (lo, hi); None: (0, 1) if all rewards lie in it, else from the smallest to the largest seen
    costs          [3, 3] cost of each verdict (row) in each true state (column), both in the order vanishing, learnable, solved, in units
                   of one sample; replaces the 0/1 loss and the target
    certify        a frequentist error level per prompt: draw on until the verdict is certified at any stopping time, or the cap
    """

    n_prompts: int
    epsilon: float = 0.05
    target_error: float = 0.03
    max_samples: int = 64
    round_size: int = 1
    seed: int = 0
    reward_range: tuple[float, float] | None = None
    costs: Floats | None = None
    certify: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("n_prompts", 1), ("max_samples", 1), ("round_size", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("target_error", "certify"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 0.5:
                raise SettingsError(f"{name} must lie in (0, 0.5), got {value}")
        if self.costs is not None and (np.shape(self.costs) != (3, 3) or not (np.asarray(self.costs) >= 0).all()):
            raise SettingsError("costs must be a 3 by 3 table of non-negative numbers: verdict by true state, vanishing, learnable, solved")
        Zones(self.epsilon, *(self.reward_range or (0.0, 1.0)))

    def zones(self, draws: Draws) -> Zones:
        """The thresholds on the range given, or on the one seen so far; one value outside [0, 1] is taken for the bottom of a range."""
        lo, hi = self.reward_range or ((0.0, 1.0) if not (draws.low < 0 or draws.high > 1) else (draws.low, draws.high))
        return Zones(self.epsilon, lo, hi if hi > lo else lo + max(1.0, abs(lo)))


@dataclass(frozen=True)
class Round:
    """Draw `k` samples of each prompt in `indices`, which ascend."""

    indices: Ints
    k: int


@dataclass(frozen=True)
class State:
    """A triage under way: everything drawn, the rule in force, and what it was fitted at."""

    plan: Plan
    draws: Draws
    rule: StoppingRule | None = None
    fitted_at: int = 0
    certifier: Certifier | None = None


def start(plan: Plan) -> State:
    """Before the first sample."""
    return State(plan, Draws.none(plan.n_prompts))


def next_round(state: State) -> Round | None:
    """Whom to draw next, and how often; None when every prompt is settled or has had its samples."""
    plan, draws = state.plan, state.draws
    if draws.total == 0:
        return Round(_pilot(plan), min(_PILOT_SAMPLES, plan.max_samples))
    open_ = _open(state) & (draws.drawn < plan.max_samples)
    indices = np.flatnonzero(open_)
    if len(indices) == 0:
        return None
    left = plan.max_samples - draws.drawn[indices]
    k = max(plan.round_size, 1 if draws.two_valued else int(draws.drawn[indices].min()) // 4)
    k = min(k, int(left.max()))
    short = left < k  # those near the cap get what is left to them, in a round of their own
    return Round(indices[short], int(left[short].min())) if short.any() else Round(indices, k)


def _pilot(plan: Plan) -> Ints:
    if plan.n_prompts <= _PILOT_PROMPTS:
        return np.arange(plan.n_prompts)
    chosen = np.random.default_rng(plan.seed).choice(plan.n_prompts, _PILOT_PROMPTS, replace=False)
    return np.sort(chosen).astype(np.int64)


def _open(state: State) -> Flags:
    """[M] prompts another sample of which is worth its price; one whose reward failed every time of four is left alone."""
    plan, draws = state.plan, state.draws
    failing = (draws.scored == 0) & (draws.drawn >= _PILOT_SAMPLES)
    if not draws.two_valued:
        return np.asarray(unsettled_many(draws, plan.zones(draws), plan.target_error) & ~failing)
    assert state.rule is not None
    high = two_ends(draws.values, plan.zones(draws))[1]
    n = np.minimum(draws.scored, plan.max_samples)
    open_ = state.rule.go[n, draws.hits(high)]
    if state.certifier is not None:
        open_ = ~state.certifier.certified
    return np.asarray(open_ & ~failing)


def absorb(state: State, asked: Round, rewards: Any) -> State:
    """The state after a round: [m, k] rewards, NaN where the reward failed. Raises `DrawError` for anything that is no reward."""
    plan = state.plan
    fresh = checked(state.draws, asked.indices, asked.k, rewards, plan.reward_range)
    draws = state.draws.add(asked.indices, fresh)
    certifier = state.certifier
    if plan.certify is not None and draws.two_valued:
        certifier = _certified(plan, state, draws, asked, fresh)
    after = State(plan, draws, state.rule, state.fitted_at, certifier)
    if not draws.two_valued:
        return after
    due = state.rule is None or draws.total >= _REFIT_GROWTH * state.fitted_at or draws.values != state.draws.values
    if due or next_round(after) is None:  # no rule is the last word before it was fitted to everything
        after = State(plan, draws, _rule(plan, draws), draws.total, certifier)
    return after


def _rule(plan: Plan, draws: Draws) -> StoppingRule:
    """The stopping rule under g fitted to everything drawn so far, at the dearest price that meets the target."""
    zones = plan.zones(draws)
    low, high = two_ends(draws.values, zones)
    pairs, size = np.unique(np.stack([draws.scored, draws.hits(high)], -1), axis=0, return_counts=True)
    seen = pairs[:, 0] > 0
    weights = flat_prior() if not seen.any() else fit_pairs(pairs[seen, 0], pairs[seen, 1], size[seen])
    states, wrong = (table[0] for table in state_table(zones, low, high, np.array([zones.hi])))
    if plan.costs is not None:
        return stopping_rules(outlook(weights, states @ np.asarray(plan.costs).T, plan.max_samples), np.ones(1))[0]
    rules = stopping_rules(outlook(weights, wrong, plan.max_samples), PRICES)
    return cheapest_rule(rules, pairs[:, 0], pairs[:, 1], size, plan.target_error)


def _certified(plan: Plan, state: State, draws: Draws, asked: Round, fresh: Floats) -> Certifier:
    """The certificates after this round, sample by sample; frozen from the pilot's first round."""
    assert plan.certify is not None
    zones = plan.zones(draws)
    high = two_ends(draws.values, zones)[1]
    if state.certifier is None or draws.values != state.draws.values:
        certifier, rounds = Certifier.frozen(draws, high, plan.epsilon, plan.certify, plan.max_samples, plan.seed), draws.rounds
    else:
        certifier, rounds = state.certifier, ((asked.indices, fresh),)
    for indices, rewards in rounds:
        certifier = certifier.update(indices, rewards, high)
    return certifier


def finish(state: State) -> Triage:
    """The verdicts on everything drawn so far; good at any time, also before `next_round` is None."""
    plan, draws = state.plan, state.draws
    certified = state.certifier.verdict if state.certifier is not None else None
    return conclude(draws, plan.zones(draws), plan.target_error, costs=plan.costs, certified=certified)


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
    costs: Floats | None = None,
    certify: float | None = None,
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
    state = start(Plan(n_prompts, epsilon, target_error, max_samples, round_size, seed, reward_range, costs, certify))
    while (asked := next_round(state)) is not None:
        rewards = ask(draw, state.draws, asked.indices, asked.k, reward_range, kept)
        state = absorb(state, asked, rewards)
    return finish(state)
