"""What a judgment depends on, with where each default comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flatspot.core.errors import SettingsError
from flatspot.core.settings import ADVANTAGES, Advantage
from flatspot.stats.zones import STATES, Zones, epsilon_for_group


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How prompts and the set are judged.

    reward_lo, reward_hi   the range a reward can take
    group_size             completions per prompt in the planned RL run; TRL's default is 8
    target_error           the share of wrong verdicts accepted among the decided ones
    worst_case             hold that share to it under every distribution that the rewards allow, not on average
    advantage              how the trainer uses rewards: "centered", less a baseline (PPO, RLOO, Dr. GRPO, `scale_rewards="none"`), or
                           "normalized", these divided by their group's std (GRPO in TRL and verl), which blows a small spread up again
    stated                 whether reward_lo and reward_hi are the reward's range, and not merely the least and the most it gave
    top_reachable          whether every prompt can earn reward_hi, as under a verifier with partial credit; binary rewards always can
    warm_up_above          share of vanishing prompts above which RL should not start cold
    solved_above           share of solved prompts above which the data has too little left to teach
    failed_above           share of rows without a reward above which the reward is to be fixed first
    """

    reward_lo: float = 0.0
    reward_hi: float = 1.0
    group_size: int = 8
    target_error: float = 0.03
    worst_case: bool = False
    advantage: Advantage = "centered"
    stated: bool = True
    top_reachable: bool = False
    warm_up_above: float = 0.2
    solved_above: float = 0.8
    failed_above: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.target_error < 0.5:
            raise SettingsError(f"--target-error must lie in (0, 0.5), got {self.target_error}")
        if not (self.reward_lo < self.reward_hi and math.isfinite(self.reward_hi - self.reward_lo)):
            raise SettingsError(f"--reward-range must be two finite numbers LO < HI, got {self.reward_lo} {self.reward_hi}")
        if self.advantage not in ADVANTAGES:
            raise SettingsError(f"--advantage must be {' or '.join(ADVANTAGES)}, got {self.advantage!r}")
        for name in ("warm_up_above", "solved_above", "failed_above"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def zones(self) -> Zones:
        """The thresholds these settings stand for."""
        epsilon = epsilon_for_group(self.group_size)
        return Zones(epsilon, self.reward_lo, self.reward_hi, self.group_size, self.advantage, self.stated)

    @property
    def share_limits(self) -> tuple[tuple[int, float], ...]:
        """(index into STATES, limit) of the shares that the verdict on the set rests on."""
        return (STATES.index("vanishing"), self.warm_up_above), (STATES.index("solved"), self.solved_above)

    @property
    def top(self) -> float | None:
        """What every prompt can earn; None where that is not known."""
        return self.reward_hi if self.top_reachable and self.stated else None
