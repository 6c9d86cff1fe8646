"""Triage as the one who decides what a run draws: see `rollouts.rounds.Decider`."""

from __future__ import annotations

from flatspot.core.settings import Settings
from flatspot.rollouts.rounds import Round
from flatspot.stats.evidence import Floats
from flatspot.stats.triage import loop
from flatspot.stats.triage.loop import next_round, start
from flatspot.stats.triage.plan import Plan

# a round of this share of what the engine takes at once loses little speed, and needs fewer samples than a full one
_ROUND_SHARE = 4
_MOST_ROUND_ROWS = 256


class Adaptive:
    """Draw each prompt until another sample is not worth its price.

    epsilon       where learnable ends
    reward_range  given or declared; None: read off the rewards
    r_star        [M] reward of the reference answers, NaN where there are none
    rows          how many completions the engine takes at once
    visit_cost    what reading a prompt costs the engine, in completions
    """

    adaptive = True

    def __init__(
        self,
        settings: Settings,
        epsilon: float,
        reward_range: tuple[float, float] | None,
        r_star: Floats,
        rows: int,
        visit_cost: float = 0.0,
    ) -> None:
        plan = Plan(
            n_prompts=len(r_star),
            epsilon=epsilon,
            target_error=settings.target_error,
            worst_case=settings.sure,
            max_samples=settings.max_completions,
            round_size=settings.round_size or 1,
            reward_range=reward_range,
            r_star=r_star,
            references=True,
            max_total=settings.max_generations,
            pilot_prompts=len(r_star),  # every prompt keeps a fixed sub-sample
            round_rows=0 if settings.round_size else min(rows // _ROUND_SHARE, _MOST_ROUND_ROWS),
            visit_cost=0.0 if settings.round_size else visit_cost,
        )
        self.state = start(plan)
        self._next = next_round(self.state)

    def next_round(self) -> Round | None:
        """The prompts that are not settled; at first all."""
        found, draws = self._next, self.state.draws
        return None if found is None else Round(found.indices, draws.drawn[found.indices], found.k, draws.total == 0)

    def absorb(self, drawn: Round, rewards: Floats) -> None:
        """Fit, and find the rule anew where it is due."""
        self.state = loop.absorb(self.state, loop.Round(drawn.prompts, drawn.n_completions), rewards)
        self._next = next_round(self.state)

    def most_completions(self) -> int:
        """As if every prompt that is not settled took all it may."""
        plan, draws = self.state.plan, self.state.draws
        if draws.total == 0:
            return plan.left(draws)
        still = 0 if self._next is None else int((plan.max_samples - draws.drawn[self._next.indices]).sum())
        return draws.total + min(still, plan.left(draws))
