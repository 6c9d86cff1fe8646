"""Where learnable ends: the thresholds between the states of a prompt, and what each wrong verdict costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.stats.evidence import Floats

# the order of every [.., 3] array of states
STATES = ("vanishing", "learnable", "solved")


@dataclass(frozen=True)
class Zones:
    """The states of a prompt with mean m, std s, achievable reward r*, and range [lo, hi], at resolution epsilon.

    solved      (r* - m) / (hi - lo) <= epsilon
    vanishing   not solved, and reach (r* - m) / s >= sqrt((1 - epsilon) / epsilon)
    learnable   neither

    On 0/1 rewards with r* = 1 this is p > 1 - epsilon, p < epsilon, and between. A verdict counts as wrong only beyond a zone of
    indifference: vanishing where it still holds at 2 epsilon is not wrong, nor is learnable unless it fails at epsilon / 2.
    """

    epsilon: float
    lo: float = 0.0
    hi: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 0.25:
            raise SettingsError(f"epsilon must lie in (0, 0.25), got {self.epsilon}")
        if not self.lo < self.hi:
            raise SettingsError(f"the reward range must be LO < HI, got {self.lo} {self.hi}")

    @property
    def reach(self) -> float:
        """The reach at which vanishing begins."""
        return reach_at(self.epsilon)

    @property
    def span(self) -> float:
        """Width of the reward range."""
        return self.hi - self.lo

    def achievable(self, reference: Floats, best: Floats | None = None) -> Floats:
        """[M] r* of each prompt from the reward of its reference [M]: that reward, or the best of the prompt [M] if larger.

        The top of the range where there is no reference (NaN), and where it earns less than half of the range: it then is not what the
        reward looks for, such as the final answer alone where a reward parses a longer text.

        >>> Zones(0.05).achievable(np.array([0.0, 0.6, np.nan]), np.array([0.0, 0.8, 0.0])).tolist()
        [1.0, 0.8, 1.0]
        """
        usable = np.isfinite(reference) & ~self.low(reference)
        return np.where(usable, reference if best is None else np.fmax(reference, best), self.hi)

    def low(self, reward: Floats) -> NDArray[np.bool_]:
        """Whether a reward is less than half of the range; false for NaN."""
        return np.asarray(reward < (self.lo + self.hi) / 2)

    def states(self, mean: Floats, std: Floats, r_star: Floats) -> Floats:
        """[..., 3] one-hot: which state each (mean, std) is in."""
        close, long = self._close(mean, r_star, self.epsilon), self._long(mean, std, r_star, self.epsilon)
        return np.stack([~close & long, ~close & ~long, close], axis=-1).astype(float)

    def loss(self, mean: Floats, std: Floats, r_star: Floats) -> Floats:
        """[..., 3] 1 where the verdict vanishing, learnable, solved would be wrong beyond indifference, else 0."""
        too_close = self._close(mean, r_star, self.epsilon / 2)
        vanishing_wrong = ~self._long(mean, std, r_star, 2 * self.epsilon) | too_close
        learnable_wrong = self._long(mean, std, r_star, self.epsilon / 2) | too_close
        solved_wrong = ~self._close(mean, r_star, 2 * self.epsilon)
        return np.stack([vanishing_wrong, learnable_wrong, solved_wrong], axis=-1).astype(float)

    def _close(self, mean: Floats, r_star: Floats, epsilon: float) -> NDArray[np.bool_]:
        return np.asarray(r_star - mean <= (epsilon + 1e-9) * self.span)  # 1 - 0.95 is not 0.05 in floats

    def _long(self, mean: Floats, std: Floats, r_star: Floats, epsilon: float) -> NDArray[np.bool_]:
        return np.asarray(r_star - mean + 1e-9 * self.span >= reach_at(epsilon) * std)


def range_seen(low: float, high: float) -> tuple[float, float]:
    """The range to assume where nobody states one, from the smallest and the largest reward (NaN: none).

    (0, 1) where all lie in it; else what was seen; around a single value, out to 0 and 1.

    >>> range_seen(0.2, 1.0), range_seen(-1.0, 3.0), range_seen(5.0, 5.0)
    ((0.0, 1.0), (-1.0, 3.0), (0.0, 5.0))
    """
    if not (low < 0 or high > 1):
        return 0.0, 1.0
    return (min(0.0, low), max(1.0, low)) if low == high else (low, high)


def reach_at(epsilon: float) -> float:
    """The reach of a 0/1 reward with success probability epsilon: sqrt((1 - epsilon) / epsilon).

    >>> round(reach_at(0.05), 3)
    4.359
    """
    return float(np.sqrt((1 - epsilon) / epsilon))


def chance_of_best(mean: Floats, std: Floats, r_star: Floats) -> Floats:
    """Chance that one completion earns r*, at most, by mean and std alone: std² / (std² + (r* − mean)²), 1 from r* on (Cantelli).

    On 0/1 rewards with r* = 1 it is p itself, the share of ones; for other rewards it is the p of a 0/1 reward with the same gap.

    >>> chance_of_best(np.array([0.2, 0.5, 0.0]), np.array([0.4, 0.1, 0.0]), np.array(1.0)).round(3).tolist()
    [0.2, 0.038, 0.0]
    """
    short = np.maximum(r_star - mean, 0.0)
    total = std**2 + short**2
    return np.asarray(np.where(short > 0, std**2 / np.where(total > 0, total, 1.0), 1.0))


def epsilon_for_group(group_size: int, mixed: float = 0.34) -> float:
    """The largest success probability at which a group is still mixed with probability under `mixed`.

    Solves 1 - p^G - (1 - p)^G = mixed on (0, 1/2), capped at 0.2: in groups of two even p = 0.2 is mixed only a third of the time.

    >>> round(epsilon_for_group(8), 4), round(epsilon_for_group(32), 4)
    (0.0506, 0.0129)
    """
    if group_size < 2:
        raise SettingsError(f"group size must be at least 2 (one completion has no advantage over its group), got {group_size}")

    def excess(p: float) -> float:
        return 1 - p**group_size - (1 - p) ** group_size - mixed

    lo, hi = 0.0, 0.2
    if excess(hi) < 0:
        return hi
    for _ in range(60):  # bisection to the last bit; scipy.optimize would triple the time to import this
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if excess(middle) < 0 else (lo, middle)
    return hi


def check_size(group_size: float) -> None:
    """Raise `SettingsError` for a group of less than one completion.

    >>> check_size(0)
    Traceback (most recent call last):
    flatspot.core.errors.SettingsError: a group has at least 1 completion, got 0
    """
    if not group_size >= 1:
        raise SettingsError(f"a group has at least 1 completion, got {group_size}")
