"""Where learnable ends: the limits between the states of a prompt, and what each wrong verdict costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatspot.core.errors import SettingsError
from flatspot.core.settings import ADVANTAGES, Advantage
from flatspot.stats.evidence import Floats

# the order of every [.., 3] array of states
STATES = ("vanishing", "learnable", "solved")
# the least gain that is a signal, in epsilons of the scale; under 1 it changes nothing for 0/1 rewards, whose gain at p = 1 - epsilon is
# just under epsilon
DELTA = 0.5


@dataclass(frozen=True)
class Zones:
    """The states of a prompt, by two questions: is there a signal, and is something left to win?

    signal     a group of K is mixed with probability q or more, and the gain of the best of K, E[max of K] - mean, is `DELTA` epsilon of
               the scale or more; with normalized advantages, which blow a small spread up again, the first alone
    left       r* - mean is more than epsilon of the scale; where r* is not known, the top of a stated range, which r* cannot pass
    learnable  signal;  vanishing  no signal, and something left or not known;  solved  no signal, and nothing left

    epsilon     success probability of a 0/1 reward under which it vanishes: q = 1 - epsilon^K - (1 - epsilon)^K
    lo, hi      range of the reward
    group_size  K
    advantage   "centered": advantages are rewards less a baseline; "normalized": these divided by their group's std
    stated      whether lo and hi are the range of the reward, stated or its own, and not merely what was seen
    typical     the typical gain, where it is known and the range is not; None: that of the set

    On 0/1 rewards with r* = 1 the states are p > 1 - epsilon, p < epsilon and between, for either kind of advantage. A verdict counts as
    wrong only beyond a zone of indifference, in which all of these limits are taken at epsilon / 2 or 2 epsilon.
    """

    epsilon: float
    lo: float = 0.0
    hi: float = 1.0
    group_size: int = 8
    advantage: Advantage = "centered"
    stated: bool = True
    typical: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 0.25:
            raise SettingsError(f"epsilon must lie in (0, 0.25), got {self.epsilon}")
        if not self.lo < self.hi:
            raise SettingsError(f"the reward range must be LO < HI, got {self.lo} {self.hi}")
        if self.group_size < 2:
            raise SettingsError(f"group size must be at least 2, got {self.group_size}")
        if self.advantage not in ADVANTAGES:
            raise SettingsError(f"advantage must be one of {', '.join(ADVANTAGES)}, got {self.advantage!r}")

    @property
    def reach(self) -> float:
        """The gap in standard deviations of a 0/1 reward at success probability epsilon."""
        return reach_at(self.epsilon)

    @property
    def span(self) -> float:
        """Width of the reward range."""
        return self.hi - self.lo

    @property
    def scale(self) -> float | None:
        """What gains and headroom are measured against: the width of a stated range; None: the typical gain of the set."""
        return self.span if self.stated else self.typical

    def mixed_limit(self, epsilon: float | None = None) -> float:
        """q: the probability that a group of K is mixed, from which on there is a signal.

        >>> round(Zones(0.0506).mixed_limit(), 2)
        0.34
        """
        return float(mixed_of(np.asarray(self.epsilon if epsilon is None else epsilon), self.group_size))

    def gain_limit(self, scale: float, epsilon: float | None = None) -> float:
        """The gain of the best of K from which on there is a signal; 0 with normalized advantages."""
        return 0.0 if self.advantage == "normalized" else DELTA * (self.epsilon if epsilon is None else epsilon) * scale

    def gain_limits(self, scale: float) -> tuple[float, float, float]:
        """The same, and either end of the zone of indifference around it, ascending."""
        half, at, twice = (self.gain_limit(scale, self.epsilon * factor) for factor in (0.5, 1.0, 2.0))
        return half, at, twice

    def ceiling(self, r_star: Floats) -> Floats:
        """[M] what r* cannot pass: r* where it is known, else the top of a stated range, else infinity."""
        return np.where(np.isfinite(r_star), r_star, self.hi if self.stated else np.inf)

    def low(self, reward: Floats) -> NDArray[np.bool_]:
        """Whether a reward is less than half of the range; false for NaN."""
        return np.asarray(reward < (self.lo + self.hi) / 2)

    def states(self, odds: Odds, scale: float) -> Floats:
        """[..., 3] one-hot: which state prompts with these odds are in."""
        signal, close = self._signal(odds, scale, self.epsilon), self._close(odds, scale, self.epsilon)
        return np.stack([~signal & ~close, signal, ~signal & close], axis=-1).astype(float)

    def loss(self, odds: Odds, scale: float) -> Floats:
        """[..., 3] 1 where the verdict vanishing, learnable, solved would be wrong beyond indifference, else 0.

        Vanishing is wrong where there is a signal even at 2 epsilon; where nothing is left even at epsilon / 2; and where nothing is left
        at 2 epsilon and there is a signal at epsilon / 2.
        """
        half, twice = self.epsilon / 2, 2 * self.epsilon
        clear, faint = self._signal(odds, scale, twice), self._signal(odds, scale, half)
        vanishing_wrong = clear | self._close(odds, scale, half) | (faint & self._close(odds, scale, twice))
        solved_wrong = clear | ~self._close(odds, scale, twice)
        return np.stack([vanishing_wrong, ~faint, solved_wrong], axis=-1).astype(float)

    def _signal(self, odds: Odds, scale: float, epsilon: float) -> NDArray[np.bool_]:
        mixed = odds.mixed > self.mixed_limit(epsilon) + 1e-9  # 1 - 0.95 is not 0.05 in floats
        return np.asarray(mixed & (odds.gain >= self.gain_limit(scale, epsilon)))

    def _close(self, odds: Odds, scale: float, epsilon: float) -> NDArray[np.bool_]:
        return np.asarray(odds.headroom <= (epsilon + 1e-9) * scale)


@dataclass(frozen=True)
class Odds:
    """What one group of K completions would earn: three arrays of one shape.

    mixed     probability that its rewards differ
    gain      E[max of K] - mean
    headroom  what r* cannot pass (`Zones.ceiling`), less the mean
    """

    mixed: Floats
    gain: Floats
    headroom: Floats


def mixed_of(p: Floats, group_size: int) -> Floats:
    """Probability that a group of 0/1 rewards with success probability p is mixed: 1 - p^K - (1 - p)^K."""
    return np.asarray(1 - p**group_size - (1 - p) ** group_size)


def gain_of(p: Floats, group_size: int) -> Floats:
    """Gain of the best of K for 0/1 rewards: pass@K - p = 1 - (1 - p)^K - p."""
    return np.asarray(1 - (1 - p) ** group_size - p)


def achievable(answer: Floats, best: Floats, top: float | None) -> Floats:
    """[M] r* of each prompt, NaN where it is not known.

    answer  [M] what a real answer earns; NaN where nobody named one. With a top it says nothing: it may be a poor one
    best    [M] the best reward seen on the prompt, below which r* never lies
    top     the end of the range where every prompt can earn it, as under a verifier; None where that is not known

    >>> achievable(np.array([0.6, 0.2, np.nan]), np.array([0.0, 0.8, 0.3]), None).tolist()
    [0.6, 0.8, nan]
    """
    known = answer if top is None else np.full(len(best), top)
    return np.where(np.isfinite(known), np.fmax(known, best), np.nan)


def typical_gain(gain: Floats) -> float:
    """The scale of a reward without a stated range: the upper quartile of the prompts' gains that are above 0; 1 where none is.

    Half of the prompts may hardly vary and one may vary wildly: neither moves it.

    >>> typical_gain(np.array([0.0, 0.0, 1.0, 1.1, 1.2, 1.3, 900.0]))
    1.3
    """
    gain = gain[np.isfinite(gain) & (gain > 0)]
    return float(np.quantile(gain, 0.75, method="lower")) if len(gain) else 1.0


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
