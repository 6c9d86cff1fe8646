"""Which verdicts are given: one rule, for rewards drawn by triage, by `diagnose`, or read from a log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.stats.evidence import Floats, Ints

# in a set of sure verdicts the mean would leave room for one that is a coin toss
MOST_ERROR = 0.25


@dataclass(frozen=True)
class Decisions:
    """The first axis is the prompt.

    best     [M] index into STATES of the verdict given, or leaned to
    error    [M] probability that it is wrong; 1 without a scored sample
    decided  [M] whether it is given
    """

    best: Ints
    error: Floats
    decided: NDArray[np.bool_]

    @property
    def predicted_error(self) -> float:
        """The mean error of the verdicts given; NaN where none is."""
        return float(self.error[self.decided].mean()) if self.decided.any() else float("nan")


def decide(wrong: Floats, n: Ints, target: float) -> Decisions:
    """Each prompt leans to its least wrong verdict; the surest over the whole set are given while their mean error is at most `target`.

    wrong : [M, 3] probability that each verdict would be wrong;  n : [M] scored samples

    The largest set of verdicts whose mean posterior error is at most alpha has a Bayes false discovery rate of alpha. Two kinds of verdict
    are never given, however sure the rest of the set is: one more likely wrong than a quarter, and one on fewer than two rewards, which say
    nothing of a spread.

    >>> wrong = np.array([[0.01, 0.9, 1.0], [0.6, 0.3, 0.9], [0.0, 1.0, 1.0]])
    >>> decide(wrong, np.array([9, 9, 1]), 0.05).decided.tolist()
    [True, False, False]
    """
    wrong = np.where((n > 0)[:, None], wrong, 1.0)
    best = wrong.argmin(-1)
    error = wrong[np.arange(len(best)), best]
    candidates = (n >= 2) & (error <= MOST_ERROR)
    decided = np.zeros(len(n), bool)
    decided[candidates] = surest(error[candidates], target)
    return Decisions(best, error, decided)


def surest(error: Floats, target: float) -> NDArray[np.bool_]:
    """The largest set of the smallest errors whose mean is at most the target; equal errors stand or fall together.

    >>> surest(np.array([0.0, 0.2, 0.04, 0.2]), 0.05).tolist()
    [True, False, True, False]
    """
    values, kind, size = np.unique(error.round(12), return_inverse=True, return_counts=True)
    mean = np.cumsum(values * size) / np.cumsum(size)
    good = np.flatnonzero(mean <= target + 1e-12)
    return np.asarray(kind.reshape(-1) <= (good[-1] if len(good) else -1))
