"""What the rows say beside each prompt's mean and std: equal completions with different rewards, and what cut ones earn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints


@dataclass(frozen=True)
class Signs:
    """Of M prompts; an empty text is none, as many logs write it where they have no completion.

    repeats         [M] scored completions whose text came before on their prompt, at the same step and cut or whole like it
    unequal         [M] of these, those of texts that came with two different rewards
    squares         [M] summed squared distances of such rewards from the mean of their text
    n_cut, n_whole  completions that the token limit cut, and that it did not; both 0 where nothing says
    cut_mean, whole_mean  their mean rewards; NaN where none has one
    asked_std       [M] within-prompt std of the completions that the reward was called with, where others have a copied score; None: of all
    """

    repeats: Ints
    unequal: Ints
    squares: Floats
    n_cut: int = 0
    n_whole: int = 0
    cut_mean: float = np.nan
    whole_mean: float = np.nan
    asked_std: Floats | None = None

    @classmethod
    def none(cls, n_prompts: int) -> Signs:
        """Where there are no rows.

        >>> Signs.none(2).repeats.tolist()
        [0, 0]
        """
        return cls(np.zeros(n_prompts, np.int64), np.zeros(n_prompts, np.int64), np.zeros(n_prompts))

    def subset(self, rows: NDArray[np.bool_]) -> Signs:
        """The prompts that `rows` [M] marks, which must be all that have rows, or more."""
        asked = None if self.asked_std is None else self.asked_std[rows]
        return replace(self, repeats=self.repeats[rows], unequal=self.unequal[rows], squares=self.squares[rows], asked_std=asked)

    def without_repeats(self) -> Signs:
        """The same where equal completions may rightly differ, as those of two groups do under a rank within each."""
        none = Signs.none(len(self.repeats))
        return replace(self, repeats=none.repeats, unequal=none.unequal, squares=none.squares)

    def noise_share(self, std: Floats) -> float:
        """The share of the reward's variance within prompts that equal completions have among themselves; NaN without repeats.

        std  [M] within-prompt std, for where no score was copied. Each prompt counts by its repeats; by chance it would be more than all.

        >>> noisy = Signs(np.array([9]), np.array([9]), np.array([9 * 0.25]))
        >>> noisy.noise_share(np.array([0.5])), noisy.noise_share(np.array([1.0]))
        (1.0, 0.25)
        """
        std = std if self.asked_std is None else self.asked_std
        defined = (self.repeats > 0) & np.isfinite(std)
        spread = float(self.repeats[defined] @ std[defined] ** 2)
        return min(1.0, float(self.squares[defined].sum()) / spread) if spread > 0 else np.nan
