"""What triage is to find out, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.core.settings import Advantage, Settings
from flatspot.stats.evidence import Floats
from flatspot.stats.triage.draws import Draws
from flatspot.stats.zones import Zones, achievable, range_seen

_PILOT_PROMPTS = 1000
_FEW_PROMPTS, _PILOT_COMPLETIONS = 200, 4
# a round of this share of what the engine takes at once loses little speed, and needs fewer completions than a full one
_ROUND_SHARE = 4
_MOST_ROUND_ROWS = 256


@dataclass(frozen=True)
class Plan:
    """What is to be found out, and at what price.

    n_prompts        prompts 0 .. n_prompts - 1
    epsilon          where learnable ends: see `Zones`
    target_error     the share of wrong verdicts accepted among those given
    max_completions  of a prompt, at most
    round_size       completions per prompt and round: more keeps an engine's batch full, and costs up to round_size - 1 a prompt
    seed             picks the pilot's prompts
    reward_range     (lo, hi); None: (0, 1) if all rewards lie in it, else from the smallest to the largest reward
    r_star           [M] what is achievable for each prompt of a graded reward; NaN, or None for all: not known
    typical          the typical gain of the best of a group, where `reward_range` is only what was seen: see `Zones`
    top_reachable    the top of `reward_range` is what every prompt can earn, as under a verifier
    group_size       completions per prompt in the planned RL run, and
    advantage        how it uses them: see `Zones`
    max_total        completions in all; the price of one is raised until the rest is expected to suffice
    pilot_prompts    how many prompts the first round draws; all of a smaller set
    pilot            completions of each in the first round: 2 are enough for verdicts where most prompts are alike, but not for the
                     limits of shares and forecasts; a set of under 200 prompts gets at least 4
    round_rows       completions that a round should have for the engine to run at full speed: with few prompts left, each is drawn more
                     often, by up to half of what it has (at least 4)
    visit_cost       what drawing from a prompt costs beside the completions, in completions: with long prompts and short answers, reading
                     the prompt again in each round is the larger part, and a prompt is drawn about sqrt(2 visit_cost E) times a round, E
                     the expected number of further completions
    share_limits     (index into STATES, limit) of each share that a verdict on the set rests on: drawing goes on while one is in doubt
    worst_case       hold the error to the target under every distribution that the rewards allow; binary and few-valued rewards only
    proofs           whether a completion always earns the same, so that the probabilities of completions prove verdicts: see `Proof`
    """

    n_prompts: int
    epsilon: float = 0.05
    target_error: float = 0.03
    max_completions: int = 64
    round_size: int = 1
    seed: int = 0
    reward_range: tuple[float, float] | None = None
    r_star: Floats | None = None
    max_total: int | None = None
    pilot_prompts: int = _PILOT_PROMPTS
    round_rows: int = 0
    visit_cost: float = 0.0
    worst_case: bool = False
    typical: float | None = None
    top_reachable: bool = False
    group_size: int = 8
    advantage: Advantage = "centered"
    pilot: int = _PILOT_COMPLETIONS
    share_limits: tuple[tuple[int, float], ...] = ()
    proofs: bool = False

    def __post_init__(self) -> None:
        for name, least in (("n_prompts", 1), ("max_completions", 1), ("round_size", 1), ("pilot", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.target_error < 0.5:
            raise SettingsError(f"target_error must lie in (0, 0.5), got {self.target_error}")
        if self.max_total is not None and self.max_total < self.n_prompts:
            raise SettingsError(f"max_total must be at least one completion a prompt, {self.n_prompts}, got {self.max_total}")
        if self.r_star is not None and np.shape(self.r_star) != (self.n_prompts,):
            raise SettingsError(f"r_star must have one entry a prompt, {self.n_prompts}, got shape {np.shape(self.r_star)}")
        Zones(self.epsilon, *(self.reward_range or (0.0, 1.0)), self.group_size, self.advantage)

    def zones(self, draws: Draws) -> Zones:
        """The thresholds on the range given, or on that of the rewards so far."""
        lo, hi = self.reward_range or range_seen(draws.low, draws.high)
        stated = self.typical is None and (self.reward_range is not None or (lo, hi) == (0.0, 1.0))
        return Zones(self.epsilon, lo, hi, self.group_size, self.advantage, stated, self.typical)

    def achievable(self, best: Floats) -> Floats:
        """[M] r* of every prompt, NaN where it is not known; best [M] is the largest reward of each, where there is one."""
        answer = np.full(self.n_prompts, np.nan) if self.r_star is None else self.r_star
        return achievable(answer, best, self.reward_range[1] if self.top_reachable and self.reward_range else None)

    @property
    def first_completions(self) -> int:
        """Completions of each prompt in the first round: `pilot`, or 4 in a set too small for fewer to tell what its prompts are like."""
        return self.pilot if self.n_prompts >= _FEW_PROMPTS else max(self.pilot, _PILOT_COMPLETIONS)

    def left(self, draws: Draws) -> int:
        """Completions still to be had in all."""
        return (self.n_prompts * self.max_completions if self.max_total is None else self.max_total) - draws.total


def diagnose_plan(
    settings: Settings,
    zones: Zones,
    reward_range: tuple[float, float] | None,
    r_star: Floats,
    rows: int,
    visit_cost: float = 0.0,
    share_limits: tuple[tuple[int, float], ...] = (),
) -> Plan:
    """The plan of `flatspot diagnose`: its first round draws every prompt, so that each has completions whose number no reward decided.

    zones         the thresholds of the settings
    reward_range  given or declared; None: that of the rewards
    r_star        [M] what real answers earn, NaN where there are none
    rows          how many completions the engine takes at once
    visit_cost    what reading a prompt costs the engine, in completions
    share_limits  of the verdict on the set
    """
    return Plan(
        n_prompts=len(r_star),
        epsilon=zones.epsilon,
        group_size=zones.group_size,
        advantage=zones.advantage,
        target_error=settings.target_error,
        worst_case=settings.worst_case,
        max_completions=settings.max_completions,
        round_size=settings.round_size or 1,
        reward_range=reward_range,
        r_star=r_star,
        top_reachable=settings.top_reachable,
        max_total=settings.max_generations,
        pilot_prompts=len(r_star),
        round_rows=0 if settings.round_size else min(rows // _ROUND_SHARE, _MOST_ROUND_ROWS),
        visit_cost=0.0 if settings.round_size else visit_cost,
        share_limits=share_limits,
    )
