"""Rounds: which prompts to draw and how many completions of each, and the one loop that draws them, whoever decides and whoever draws.

`diagnose` decides by triage or a fixed number and draws into a run folder (`rollouts.collect`); a probe draws on an engine in memory;
`flatspot.triage` asks the user's function. All of them run `run_rounds`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """Draw completions first .. first + n_completions - 1 of each prompt.

    prompts        [m] places in the run's prompts, ascending
    first          [m] the index of each one's first completion in this round
    n_completions  how many of each
    fixed          whether the round was decided on before any reward was there, or for all prompts alike whatever the rewards were
    """

    prompts: Ints
    first: Ints
    n_completions: int
    fixed: bool

    @property
    def total(self) -> int:
        """Completions in the round."""
        return len(self.prompts) * self.n_completions

    def parts(self, rows_per_part: int) -> list[slice]:
        """The round's prompts in parts of at most so many completions, but of at least one prompt.

        >>> Round(np.arange(5), np.zeros(5, np.int64), 4, True).parts(8)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
        """
        size = max(1, rows_per_part // self.n_completions)
        return [slice(start, start + size) for start in range(0, len(self.prompts), size)]


@dataclass(frozen=True)
class Seen:
    """Which completions a round drew, and how probable each was.

    completion  [m, k] equal numbers for equal completions of a prompt
    mass        [m, k] the probability, or less; NaN where it is not known
    """

    completion: Ints
    mass: Floats


class Decider(Protocol):
    """Decides on the next round from the rewards so far and nothing else, so that a run that was killed decides as it would have.

    adaptive  whether the rewards decide; if not, the number of completions is fixed beforehand
    proves    whether it makes use of which completions earned the rewards: only then are they read
    """

    adaptive: bool
    proves: bool

    def next_round(self) -> Round | None:
        """The next round; None where enough was drawn."""
        ...

    def absorb(self, drawn: Round, rewards: Floats, seen: Seen | None = None) -> None:
        """Take in the [m, k] rewards of a round, NaN where there is none: every round in the order drawn, those of an earlier start too.

        seen  the completions that earned them; None where their probability is not known, or nothing is proved
        """
        ...

    def most_completions(self) -> int:
        """Upper limit of the completions in all, from the rewards so far."""
        ...


def run_rounds(decider: Decider, draw: Callable[[Round], Floats | tuple[Floats, Seen | None]], *, decided: Iterable[Round] = ()) -> None:
    """Draw round after round, until the decider has enough.

    draw     gives the [m, k] rewards of a round, NaN where there is none; and which completions earned them, where that is known
    decided  rounds that an earlier start had decided on, and the decider has not absorbed: they come first, whatever it would decide now

    >>> rounds = []
    >>> run_rounds(FixedCompletions(2, 3), lambda this: rounds.append(this.total) or np.zeros((2, 3)))
    >>> rounds
    [6]
    """
    for this in itertools.chain(decided, iter(decider.next_round, None)):
        drawn = draw(this)
        decider.absorb(this, *(drawn if isinstance(drawn, tuple) else (drawn,)))


class FixedCompletions:
    """Draw the same number of completions of every prompt, whatever their rewards.

    >>> decider = FixedCompletions(3, 8)
    >>> decider.absorb(Round(np.arange(3), np.zeros(3, np.int64), 4, True), np.zeros((3, 4)))
    >>> decider.next_round()
    Round(prompts=array([0, 1, 2]), first=array([4, 4, 4]), n_completions=4, fixed=True)
    """

    adaptive = proves = False

    def __init__(self, n_prompts: int, n_completions: int) -> None:
        self.n_completions = n_completions
        self.drawn = np.zeros(n_prompts, np.int64)

    def next_round(self) -> Round | None:
        """The prompts that lack most completions; of a new run, all."""
        fewest = int(self.drawn.min(initial=self.n_completions))
        if fewest >= self.n_completions:
            return None
        prompts = np.flatnonzero(self.drawn == fewest)
        return Round(prompts, self.drawn[prompts], self.n_completions - fewest, not (self.drawn > fewest).any())

    def absorb(self, drawn: Round, rewards: Floats, seen: Seen | None = None) -> None:
        """Only how many there are counts."""
        self.drawn[drawn.prompts] += rewards.shape[1]

    def most_completions(self) -> int:
        """Exactly so many."""
        return int(np.maximum(self.drawn, self.n_completions).sum())
