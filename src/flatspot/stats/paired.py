"""Two runs of the same prompts: what changed in the mean over prompts, and on each of them, with limits that never collapse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, stdtrit

from flatspot.stats.evidence import Floats, Ints, evidence_of_rows

_Z = 1.959964  # of 95%


@dataclass(frozen=True, slots=True)
class Change:
    """A mean over M prompts, before and after, and the change with its 95% limits; NaN where M = 0."""

    before: float
    after: float
    change: float
    lo: float
    hi: float
    n: int


@dataclass(frozen=True)
class Rewards:
    """The scored rewards of M prompts, in the order drawn within each.

    prompt  [R] index of the prompt, ascending
    reward  [R] finite
    """

    prompt: Ints
    reward: Floats

    def first(self, k: Ints) -> Rewards:
        """The first k [M] of each prompt."""
        starts = np.searchsorted(self.prompt, np.arange(len(k)))
        inside = np.arange(len(self.prompt)) - starts[self.prompt] < k[self.prompt]
        return Rewards(self.prompt[inside], self.reward[inside])


def mean_change(before: Floats, after: Floats, width: float) -> Change:
    """The change in the mean over prompts, [M] and [M]; prompts with a NaN on either side are left out.

    Limits: Student's t on the differences and on two made-up prompts besides, one that gained `width`, the most possible, and one that
    lost it. For outcomes of 0 and 1 this is Bonett and Price's (2012) interval for paired shares, with t for z. Without the two, ten
    prompts that did not change would prove that none ever does. Coverage for paired shares: 0.937 at the least, 0.97 to 1 on average, for 3
    to 30 prompts (enumerated in the tests).

    >>> same = mean_change(np.zeros(10), np.zeros(10), 1.0)
    >>> same.change, round(same.lo, 2), round(same.hi, 2)
    (0.0, -0.27, 0.27)
    """
    both = np.isfinite(before) & np.isfinite(after)
    n = int(both.sum())
    if n == 0:
        return Change(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    first, second = before[both], after[both]
    differences = np.r_[second - first, -width, width]
    change = float((second - first).mean())
    half = float(stdtrit(n + 1, 0.975) * differences.std(ddof=1) / np.sqrt(n + 2))
    lo, hi = max(float(differences.mean()) - half, -width), min(float(differences.mean()) + half, width)
    return Change(float(first.mean()), float(second.mean()), change, min(lo, change), max(hi, change), n)


def own_changes(before: Rewards, after: Rewards, n_prompts: int, lo: float, hi: float) -> tuple[Floats, Floats, Floats]:
    """Per prompt, [M] each: the change in its mean reward and its 95% limits; NaN without a scored completion on either side.

    Each side gets one made-up completion with the smallest reward and one with the largest: Agresti and Caffo's (2000) interval for two
    shares, and the same for any reward in [lo, hi]. Coverage for shares: 0.90 at the least, 0.96 on average (enumerated in the tests).
    """
    (m1, c1, v1), (m2, c2, v2) = (_padded(side, n_prompts, lo, hi) for side in (before, after))
    half = _Z * np.sqrt(v1 + v2)
    width = hi - lo
    return m2 - m1, np.maximum(c2 - c1 - half, -width), np.minimum(c2 - c1 + half, width)


def _padded(side: Rewards, n_prompts: int, lo: float, hi: float) -> tuple[Floats, Floats, Floats]:
    """(mean, mean with the two made-up completions, variance of that mean), [M] each."""
    n = np.bincount(side.prompt, minlength=n_prompts).astype(float)
    total = np.bincount(side.prompt, side.reward, n_prompts)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    center = np.where(n > 0, (total + lo + hi) / (n + 2), np.nan)
    squares = np.bincount(side.prompt, (side.reward - center[side.prompt]) ** 2, n_prompts) + (lo - center) ** 2 + (hi - center) ** 2
    return mean, center, squares / (n + 2) ** 2


def compared_sizes(before: Rewards, after: Rewards, n_prompts: int) -> Ints:
    """[M] how many scored completions both sides have: an std, or a group, of fewer is smaller for that alone."""
    return np.minimum(*(np.bincount(side.prompt, minlength=n_prompts) for side in (before, after)))


def std_of_first(side: Rewards, k: Ints) -> Floats:
    """[M] within-prompt std (ddof 1) of the first k [M] completions; NaN under two."""
    rewards = side.first(k)
    return evidence_of_rows(rewards.prompt, rewards.reward, len(k)).std


def largest_std(k: int, width: float) -> float:
    """The largest std (ddof 1) that k >= 2 rewards of a range this wide can have: half of them at each end; smaller for larger k.

    >>> round(largest_std(2, 1.0), 4), round(largest_std(4, 1.0), 4)
    (0.7071, 0.5774)
    """
    return width * float(np.sqrt((k // 2) * (k - k // 2) / (k * (k - 1))))


def mixed_share(side: Rewards, k: Ints) -> Floats:
    """[M] share of the groups of k [M] among a prompt's completions that hold two different rewards; NaN for k < 2.

    Unbiased for the chance that a fresh group is mixed: 1 - sum over values of C(count, k) / C(n, k).

    >>> rewards = Rewards(np.array([0, 0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 0.0, 0.0]))
    >>> mixed_share(rewards, np.array([2, 2])).round(4).tolist()
    [0.6667, 0.0]
    """
    evidence = evidence_of_rows(side.prompt, side.reward, len(k))
    prompt, count = evidence.tally.prompt, evidence.tally.count.astype(float)
    size, n = k[prompt].astype(float), evidence.n[prompt].astype(float)
    enough = count >= size
    log = _log_choose(np.where(enough, count, size), size) - _log_choose(n, size)
    equal = np.bincount(prompt, np.where(enough, np.exp(log), 0.0), len(k))
    return np.where((k >= 2) & (evidence.n >= k), np.clip(1 - equal, 0.0, 1.0), np.nan)


def _log_choose(n: Floats, k: Floats) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
