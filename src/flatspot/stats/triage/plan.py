"""What a triage is to find out, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import Floats
from flatspot.stats.triage.draws import Draws
from flatspot.stats.zones import Zones, range_seen

_PILOT_PROMPTS = 1000


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
    r_star         [M] what is achievable for each prompt; NaN, or None for all: the top of the range
    references     r_star is what reference answers earn, which is not always what is achievable: see `Zones.achievable`
    max_total      samples in all; the price of one is raised until the rest is expected to suffice
    pilot_prompts  how many prompts the first round draws, 4 samples each; all of a smaller set
    round_rows     samples that a round should have for the engine to run at full speed: with few prompts left, each is drawn more often,
                   by up to half of what it has (at least 4)
    visit_cost     what drawing from a prompt costs beside the samples, in samples: with long prompts and short answers, reading the prompt
                   again in each round is the larger part, and a prompt is drawn about sqrt(2 visit_cost E) times a round, E the expected
                   number of further samples
    worst_case     hold the error to the target under every distribution that the rewards allow; binary rewards only
    """

    n_prompts: int
    epsilon: float = 0.05
    target_error: float = 0.03
    max_samples: int = 64
    round_size: int = 1
    seed: int = 0
    reward_range: tuple[float, float] | None = None
    r_star: Floats | None = None
    max_total: int | None = None
    pilot_prompts: int = _PILOT_PROMPTS
    round_rows: int = 0
    visit_cost: float = 0.0
    worst_case: bool = False
    references: bool = False

    def __post_init__(self) -> None:
        for name, least in (("n_prompts", 1), ("max_samples", 1), ("round_size", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.target_error < 0.5:
            raise SettingsError(f"target_error must lie in (0, 0.5), got {self.target_error}")
        if self.max_total is not None and self.max_total < self.n_prompts:
            raise SettingsError(f"max_total must be at least one sample a prompt, {self.n_prompts}, got {self.max_total}")
        if self.r_star is not None and np.shape(self.r_star) != (self.n_prompts,):
            raise SettingsError(f"r_star must have one entry a prompt, {self.n_prompts}, got shape {np.shape(self.r_star)}")
        Zones(self.epsilon, *(self.reward_range or (0.0, 1.0)))

    def zones(self, draws: Draws) -> Zones:
        """The thresholds on the range given, or on the one seen so far."""
        return Zones(self.epsilon, *(self.reward_range or range_seen(draws.low, draws.high)))

    def achievable(self, zones: Zones, seen: Floats | None = None) -> Floats:
        """[M] r* of every prompt; seen [M] is the largest reward of each, where it is known."""
        if self.r_star is None:
            return np.full(self.n_prompts, zones.hi)
        if self.references:
            return zones.achievable(self.r_star, seen)
        return np.where(np.isfinite(self.r_star), self.r_star, zones.hi)

    def left(self, draws: Draws) -> int:
        """Samples still to be had in all."""
        return (self.n_prompts * self.max_samples if self.max_total is None else self.max_total) - draws.total
