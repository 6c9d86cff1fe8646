"""Whether the rewards of a run can be judged at all: noise, parts that hide in a sum, completions cut before they can earn anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flatspot.core.noise import CalledAgain
from flatspot.runs.table import RunTable
from flatspot.verdicts.alarms import REPEATED

_FEW = 0.05  # of the prompts: fewer, and it is not worth a caveat
_CUT_COSTS = 0.05  # of the reward range: what cut completions earn less, to be more than chance


@dataclass(frozen=True)
class RewardSigns:
    """What speaks against taking the rewards of a run as they are.

    noise_share    share of the variance within prompts that equal completions have among themselves; NaN where none came twice
    n_repeats, n_unequal   completions that came before on their prompt, and those of texts that came with different rewards
    ties           the share of prompts on which the parts vary and their sum does not
    cut_share      completions that the token limit cut, of those that say so; NaN where none does
    cut_mean, whole_mean   what they and the others earn; NaN where there are none
    """

    noise_share: float = np.nan
    n_repeats: int = 0
    n_unequal: int = 0
    ties: float = 0.0
    cut_share: float = np.nan
    cut_mean: float = np.nan
    whole_mean: float = np.nan

    @property
    def noisy(self) -> bool:
        """Whether most of what RL would learn from is noise."""
        return self.n_repeats >= REPEATED and self.noise_share > 0.5

    def cut_short(self, lo: float, hi: float) -> bool:
        """Whether most completions were cut, and those earn the least; where all were, the lower half of the range [lo, hi]."""
        if not self.cut_share > 0.5 or np.isnan(self.cut_mean):
            return False
        limit = (lo + hi) / 2 if np.isnan(self.whole_mean) else self.whole_mean - _CUT_COSTS * (hi - lo)
        return bool(self.cut_mean <= limit)


def reward_signs(run: RunTable, weights: Mapping[str, float] | None = None, again: CalledAgain | None = None) -> RewardSigns:
    """Of a run.

    weights  of the parts in the total, 1 each where they are not known
    again    what calls of the reward with the same completions showed: it counts where too few completions came twice by themselves
    """
    signs, evidence = run.signs, run.evidence
    known_cut = signs.n_cut + signs.n_whole
    ties = 0.0
    parts = [part for name, part in run.components.items() if (weights or {}).get(name, 1.0) != 0]
    several = evidence.n >= 2
    if len(parts) > 1 and several.any():
        moves = np.stack([np.nan_to_num(part.std[several]) > 0 for part in parts])
        ties = float((moves.any(0) & (evidence.std[several] == 0)).mean())
    noise_share, n_repeats, n_unequal = signs.noise_share(evidence.std), int(signs.repeats.sum()), int(signs.unequal.sum())
    within = float(np.mean(evidence.std[several] ** 2)) if several.any() else 0.0
    if again is not None and again.n > n_repeats and within > 0:
        noise_share, n_repeats, n_unequal = min(1.0, again.variance / within), again.n, again.unequal
    return RewardSigns(
        noise_share=noise_share,
        n_repeats=n_repeats,
        n_unequal=n_unequal,
        ties=ties if ties > _FEW else 0.0,
        cut_share=signs.n_cut / known_cut if known_cut else np.nan,
        cut_mean=signs.cut_mean,
        whole_mean=signs.whole_mean,
    )
