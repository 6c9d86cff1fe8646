"""Whether the rewards of a run can be judged at all: noise, parts that hide in a sum, completions cut before they can earn anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from flatspot.runs.table import RunTable
from flatspot.stats.evidence import Floats
from flatspot.verdicts.alarms import REPEATED

_INFORMATIVE, _LEVEL = 0.1, 0.005  # a part is flat where this share of prompts or more would show so few that vary once in 200 sets
_FEW = 0.05  # of the prompts: fewer, and it is not worth a caveat
_CUT_COSTS = 0.05  # of the reward range: what cut completions earn less, to be more than chance
_HIDDEN = 0.8  # of the prompts whose total varies, on which a part does not
_ENOUGH = 8  # completions per prompt from which a prompt whose part never varied says something


@dataclass(frozen=True)
class RewardSigns:
    """What speaks against taking the rewards of a run as they are.

    noise_share    share of the variance within prompts that equal completions have among themselves; NaN where none came twice
    n_repeats, n_unequal   completions that came before on their prompt, and those of texts that came with different rewards
    flat_part      the part that is worth at least as much as any other and nearly never varies, and never earns the upper half of its
                   range; "" where there is none
    hidden_part    the same, of a part that varies now and then, but hardly where the total does; with hidden_share of these prompts
    others         the share of prompts on which the other parts vary
    ties           the share of prompts on which the parts vary and their sum does not
    cut_share      completions that the token limit cut, of those that say so; NaN where none does
    cut_mean, whole_mean   what they and the others earn; NaN where there are none
    """

    noise_share: float = np.nan
    n_repeats: int = 0
    n_unequal: int = 0
    flat_part: str = ""
    hidden_part: str = ""
    hidden_share: float = 0.0
    others: float = 0.0
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


def reward_signs(run: RunTable, weights: Mapping[str, float] | None = None) -> RewardSigns:
    """Of a run; `weights` of the parts in the total, 1 each where they are not known."""
    signs, evidence = run.signs, run.evidence
    known_cut = signs.n_cut + signs.n_whole
    flat, hidden, hidden_share, others, ties = "", "", 0.0, 0.0, 0.0
    weight = {name: (weights or {}).get(name, 1.0) for name in run.components}
    parts = {name: part for name, part in run.components.items() if weight[name] != 0}
    several = evidence.n >= 2
    if len(parts) > 1 and several.any():
        moves = np.stack([np.nan_to_num(std[several]) > 0 for _, std in parts.values()])
        ties = float((moves.any(0) & (evidence.std[several] == 0)).mean())
        enough = np.median(evidence.n[several]) >= _ENOUGH
        for i, name in enumerate(parts):
            rest = np.asarray(np.delete(moves, i, 0).any(0))
            worth = abs(weight[name]) >= max(abs(weight[other]) for other in parts)
            if not worth or _hardly(rest):
                continue
            low = _low(parts[name][0][several])
            if _hardly(moves[i]) and low.all():
                flat, others = name, float(rest.mean())
            elif enough and rest.any() and (share := float((~moves[i] & low)[rest].mean())) > max(_HIDDEN, hidden_share):
                hidden, hidden_share, others = name, share, float(rest.mean())
    return RewardSigns(
        noise_share=signs.noise_share(evidence.std),
        n_repeats=int(signs.repeats.sum()),
        n_unequal=int(signs.unequal.sum()),
        flat_part=flat,
        hidden_part="" if flat else hidden,
        hidden_share=hidden_share,
        others=others,
        ties=ties if ties > _FEW else 0.0,
        cut_share=signs.n_cut / known_cut if known_cut else np.nan,
        cut_mean=signs.cut_mean,
        whole_mean=signs.whole_mean,
    )


def _hardly(moves: NDArray[np.bool_]) -> bool:
    """Whether so few of these prompts [M] vary that their share is under a tenth; of a few prompts, whether none does."""
    return bool(bdtr(int(moves.sum()), len(moves), _INFORMATIVE) < _LEVEL or not moves.any())


def _low(mean: Floats) -> NDArray[np.bool_]:
    """[M] whether a part's mean lies in the lower half of its range: of [0, 1], or of what was seen where that is wider."""
    low, high = min(0.0, float(np.nanmin(mean, initial=0.0))), max(1.0, float(np.nanmax(mean, initial=1.0)))
    return np.asarray(np.nan_to_num(mean, nan=low) <= (low + high) / 2)
