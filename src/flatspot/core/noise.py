"""What is known of the noise of a reward: completions that it was asked about twice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CalledAgain:
    """Completions whose reward was called twice, because a first look showed that it does not repeat itself.

    n         how many
    unequal   how many of them got another value
    variance  of a completion's reward about its own mean: half the mean squared difference of the two calls
    """

    n: int
    unequal: int
    variance: float
