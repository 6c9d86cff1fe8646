"""What a run draws, round by round: some of the prompts, as many samples of each. Who decides on a round sees all earlier rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """Draw samples first .. first + samples - 1 of each prompt.

    prompts  [m] places in the run's prompts, ascending
    first    [m] the number of each one's first sample in this round
    samples  how many of each
    fixed    whether the round was decided on before any reward was seen, or for all prompts alike whatever the rewards were
    """

    prompts: Ints
    first: Ints
    samples: int
    fixed: bool

    @property
    def rows(self) -> int:
        """Completions in the round."""
        return len(self.prompts) * self.samples

    def parts(self, rows_per_part: int) -> list[slice]:
        """The round's prompts in parts of at most so many rows, but of at least one prompt.

        >>> Round(np.arange(5), np.zeros(5, np.int64), 4, True).parts(8)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
        """
        size = max(1, rows_per_part // self.samples)
        return [slice(start, start + size) for start in range(0, len(self.prompts), size)]


class Decider(Protocol):
    """Says what to draw next from the rewards so far, and from nothing else, so that a run that was killed decides as it would have.

    adaptive  whether the rewards decide; if not, the number of rows is known beforehand
    """

    adaptive: bool

    def next_round(self) -> tuple[Ints, int, bool] | None:
        """(prompts, samples of each, `Round.fixed`) of the next round; None where enough was drawn."""
        ...

    def absorb(self, prompts: Ints, rewards: Floats) -> None:
        """Take in the [m, k] rewards of a round, NaN where there is none: every round in the order drawn, those of an earlier start too."""
        ...

    def most_rows(self) -> int:
        """No more rows than this will there be in all, as far as is known now."""
        ...


class FixedCompletions:
    """Draw every prompt the same number of times, whatever its rewards.

    >>> decider = FixedCompletions(3, 8)
    >>> decider.absorb(np.array([0, 1, 2]), np.zeros((3, 4)))
    >>> decider.next_round()
    (array([0, 1, 2]), 4, True)
    """

    adaptive = False

    def __init__(self, n_prompts: int, samples: int) -> None:
        self.samples = samples
        self.drawn = np.zeros(n_prompts, np.int64)

    def next_round(self) -> tuple[Ints, int, bool] | None:
        """The prompts that lack most samples; of a new run, all."""
        fewest = int(self.drawn.min(initial=self.samples))
        if fewest >= self.samples:
            return None
        return np.flatnonzero(self.drawn == fewest), self.samples - fewest, not (self.drawn > fewest).any()

    def absorb(self, prompts: Ints, rewards: Floats) -> None:
        """Only how many there are counts."""
        self.drawn[prompts] += rewards.shape[1]

    def most_rows(self) -> int:
        """Exactly so many."""
        return int(np.maximum(self.drawn, self.samples).sum())
