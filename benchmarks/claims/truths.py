"""What is true of prompts whose reward distributions are known, by the definitions of docs/explanation/verdicts.md.

Nothing here calls flatspot: the numbers that it prints are compared with these. K is the group size 8, epsilon 0.05, advantages are rewards
less a baseline unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

EPSILON, DELTA, GROUP = 0.05, 0.5, 8
SIZES = (4, 8, 16, 32)  # whose mixed groups are forecast
VANISHING, LEARNABLE, SOLVED = range(3)
_CELLS = 1000


@dataclass(frozen=True)
class Prompts:
    """M prompts.

    draw       (indices [m], k, rng) -> [m, k] rewards
    mean, std  [M] of the reward
    gain       [M] E[max of 8] - mean
    ties       [M, A] probability of each value that two completions can have in common
    low, high  the range; `stated`: whether the user states it, else it is unknown and not bounded
    like       the share of mixed groups [4] and of the states [3] of the prompts that these stand for; None: those of the whole family
    task       [M] which task each prompt is of; None: they are independent
    """

    draw: Callable
    mean: np.ndarray
    std: np.ndarray
    gain: np.ndarray
    ties: np.ndarray
    low: float = 0.0
    high: float = 1.0
    stated: bool = True
    like: tuple[np.ndarray, np.ndarray] | None = None
    task: np.ndarray | None = None

    def __len__(self):
        return len(self.mean)

    def mixed(self, k=GROUP):
        """[M] probability that a group of k is mixed."""
        return 1 - (self.ties**k).sum(-1)

    @property
    def scale(self):
        """Width of a stated range, else the typical gain: the upper quartile of those above 0."""
        return self.high - self.low if self.stated else float(np.quantile(self.gain[self.gain > 0], 0.75, method="lower"))

    def states(self, normalized=False):
        """[M, 3] one-hot."""
        signal, close = self._signal(EPSILON, normalized), self._close(EPSILON)
        return np.stack([~signal & ~close, signal, ~signal & close], -1)

    def wrong(self, normalized=False):
        """[M, 3] whether the verdict vanishing, learnable, solved is wrong beyond the zone of indifference."""
        half, twice = EPSILON / 2, 2 * EPSILON
        clear, faint = self._signal(twice, normalized), self._signal(half, normalized)
        vanishing = clear | self._close(half) | (faint & self._close(twice))
        return np.stack([vanishing, ~faint, clear | ~self._close(twice)], -1)

    def _signal(self, epsilon, normalized):
        often = self.mixed() > 1 - epsilon**GROUP - (1 - epsilon) ** GROUP + 1e-9
        return often if normalized else often & (self.gain >= DELTA * epsilon * self.scale)

    def _close(self, epsilon):
        top = self.high if self.stated else np.inf
        return top - self.mean <= (epsilon + 1e-9) * self.scale

    def shares(self):
        """Of these very prompts: the share of mixed groups at each of `SIZES`, and of the states."""
        return np.array([self.mixed(k).mean() for k in SIZES]), self.states().mean(0)


def of_chances(p, low=0.0, high=1.0, task=None, like=None):
    """Rewards `low` and `high`, the latter with probability p [M]."""
    width = high - low

    def draw(i, k, rng):
        return low + width * (rng.random((len(i), k)) < p[i, None])

    gain = (1 - (1 - p) ** GROUP - p) * width
    ties = np.stack([1 - p, p], -1)
    return Prompts(draw, low + p * width, np.sqrt(p * (1 - p)) * width, gain, ties, low, high, True, like, task)


def of_weights(values, weights, low=0.0, high=1.0):
    """Ascending values [V] with weights [M, V]: exact sums."""
    values, below = np.asarray(values, float), np.minimum(np.cumsum(weights, 1), 1.0)
    below[:, -1] = 1.0
    mean = weights @ values
    best = np.diff(below**GROUP, axis=1, prepend=0) @ values
    std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 0.0))

    def draw(i, k, rng):
        return values[(rng.random((len(i), k, 1)) > below[i][:, None]).sum(-1)]

    return Prompts(draw, mean, std, best - mean, weights, low, high)


def of_cdf(draw, cdf, n_prompts, ties=None, low=0.0, high=1.0, stated=True, reach=None):
    """Rewards with this cdf (x [cells] -> [M, cells]), integrated over `reach` (the range), by the middles of 1,000 cells.

    With F the cdf and t the top: mean = t - int F, E[(t - x)^2] = 2 int (t - x) F, E[max of K] = t - int F^K.
    """
    bottom, top = reach or (low, high)
    width = (top - bottom) / _CELLS
    x = bottom + (np.arange(_CELLS) + 0.5) * width
    mean, square, best = np.empty(n_prompts), np.empty(n_prompts), np.empty(n_prompts)
    for start in range(0, n_prompts, 500):
        at = slice(start, start + 500)
        below = cdf(x, at)
        mean[at] = top - below.sum(-1) * width
        square[at] = 2 * (below @ (top - x)) * width
        best[at] = top - (below**GROUP).sum(-1) * width
    std = np.sqrt(np.maximum(square - (top - mean) ** 2, 0.0))
    ties = np.zeros((n_prompts, 1)) if ties is None else ties
    return Prompts(draw, mean, std, best - mean, ties, low, high, stated)


def joined(parts):
    """All prompts of these sets, one set after the other."""
    edges = np.cumsum([0, *map(len, parts)])
    widest = max(part.ties.shape[1] for part in parts)

    def draw(i, k, rng):
        out = np.empty((len(i), k))
        for part, start, end in zip(parts, edges, edges[1:], strict=False):
            mine = (i >= start) & (i < end)
            if mine.any():
                out[mine] = part.draw(i[mine] - start, k, rng)
        return out

    ties = np.concatenate([np.pad(part.ties, ((0, 0), (0, widest - part.ties.shape[1]))) for part in parts])
    rest = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Prompts) if f.name in ("mean", "std", "gain")}
    return Prompts(draw, ties=ties, low=parts[0].low, high=parts[0].high, stated=parts[0].stated, **rest)
