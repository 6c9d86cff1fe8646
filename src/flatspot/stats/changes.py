"""Did a prompt change, or is it chance? And is it still drawn? Exact tests, and how many of what they find may be chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from flatspot.stats.evidence import Floats, Ints, distinct, merge_equal

RATE = 0.05  # of what is found, the share that may be chance
STRETCHES = 50  # of a training, by which it is asked whether prompts are drawn: a group whose rows lie at two steps is drawn once
_SURE = 1000.0  # draws that the prior is worth at most: all prompts are hardly drawn exactly alike


def change_p(prompt: Ints, later: NDArray[np.bool_], reward: Floats, count: Ints, n_prompts: int) -> tuple[Floats, Floats]:
    """[M] p-value of "this prompt's rewards are of one distribution, earlier and later", and the least it could be; NaN without both sides.

    prompt, later, reward, count : [R] rows, each standing for so many completions

    Fisher's exact test, two-sided by doubling the smaller tail, of how many rewards lie above the prompt's median of both sides. With more
    than two different rewards also of how many lie farther from it than the median distance, which tells a spread that shrank; the
    smaller of the two p-values is then doubled. Given all rewards of a prompt, the cuts are fixed, so both are exact whatever the
    reward: p <= a has a probability of at most a where nothing changed.

    >>> hits = np.array([0.0, 1.0, 0.0, 1.0])
    >>> p, least = change_p(np.zeros(4, int), np.array([False, False, True, True]), hits, np.array([7, 1, 0, 8]), 1)
    >>> p.round(5).tolist(), least.round(5).tolist()
    ([0.0014], [0.0014])
    """
    kept = np.isfinite(reward) & (count > 0)
    prompt, later, value, count = prompt[kept], later[kept], merge_equal(reward[kept]), count[kept]
    n, first = (np.bincount(prompt, weights, n_prompts).astype(float) for weights in (count, count * ~later))
    middle = _median(prompt, value, count, n_prompts)
    level = _fisher(prompt, later, count, _above(value, middle[prompt], prompt, count, n_prompts), n, first)
    far = np.abs(value - middle[prompt])
    spread = _fisher(prompt, later, count, _above(far, _median(prompt, far, count, n_prompts)[prompt], prompt, count, n_prompts), n, first)
    graded = np.bincount(distinct(prompt, value)[0][0], minlength=n_prompts) > 2
    both = (first > 0) & (first < n)
    p, least = (np.where(graded, np.minimum(1.0, 2 * np.minimum(a, b)), a) for a, b in zip(level, spread, strict=True))
    return np.where(both, p, np.nan), np.where(both, least, np.nan)


def _median(prompt: Ints, value: Floats, count: Ints, n_prompts: int) -> Floats:
    """[M] the lower median of each prompt's values; NaN without any."""
    order = np.lexsort((value, prompt))
    prompt, value, count = prompt[order], value[order], count[order]
    ends = np.cumsum(count)
    total = np.bincount(prompt, count, n_prompts)
    before = np.r_[0, np.cumsum(total)[:-1]]
    half = (total + 1) // 2  # the how-many-th value it is
    at = np.searchsorted(ends, before + half)
    found: Floats = np.where(total > 0, np.r_[value, np.nan][np.minimum(at, len(value))], np.nan)
    return found


def _above(value: Floats, cut: Floats, prompt: Ints, count: Ints, n_prompts: int) -> NDArray[np.bool_]:
    """[R] whether a value lies above its prompt's cut; at or above it, for prompts without any above."""
    over = value > cut
    none = np.bincount(prompt, count * over, n_prompts) == 0
    return np.where(none[prompt], value >= cut, over)


def _fisher(
    prompt: Ints, later: NDArray[np.bool_], count: Ints, above: NDArray[np.bool_], n: Floats, first: Floats
) -> tuple[Floats, Floats]:
    """([M] the p-value, [M] the least that the same margins allow)."""
    hits, early = (np.bincount(prompt, weights, len(n)).astype(float) for weights in (count * above, count * (above & ~later)))
    (n, hits, first, early), place, _ = distinct(n, hits, first, early)
    low, high = np.maximum(0.0, hits - (n - first)), np.minimum(hits, first)
    upto = _sum_of_law(n, hits, first, low, early)
    p = np.minimum(upto, 1 - upto + np.exp(_log_law(n, hits, first, early)))
    least = np.exp(np.minimum(_log_law(n, hits, first, low), _log_law(n, hits, first, high)))
    return np.clip(2 * p, 0.0, 1.0)[place], np.clip(2 * least, 0.0, 1.0)[place]


def _log_law(n: Floats, hits: Floats, first: Floats, k: Floats) -> Floats:
    """Log of C(first, k) C(n - first, hits - k) / C(n, hits)."""
    return _log_choose(first, k) + _log_choose(n - first, hits - k) - _log_choose(n, hits)


def _log_choose(n: Floats, k: Floats) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _sum_of_law(n: Floats, hits: Floats, first: Floats, low: Floats, high: Floats) -> Floats:
    """The law's sum from `low` to `high`, a term each."""
    length = (high - low + 1).astype(np.int64)
    each = np.repeat(np.arange(len(n)), length)
    k = np.arange(len(each)) - np.repeat(np.cumsum(length) - length, length) + low[each]
    return np.bincount(each, np.exp(_log_law(n[each], hits[each], first[each], k)), len(n)).astype(float)


def stopped_p(drawn: NDArray[np.bool_]) -> Floats:
    """[M] p-value of "this prompt is drawn as before", from how long it has not been; NaN for prompts that never were.

    drawn : [M, B] whether the prompt was drawn in each of B stretches of a training, in order

    A prompt is drawn in a stretch with a probability q of its own, whatever happened before; q is Beta(a, b) over the prompts, by the
    moments of their counts in the first half. After v draws in L stretches, the last of them a draw, g further ones without any have
    B(a + v - 1, b + L - v + g) / B(a + v - 1, b + L - v). A sampler that goes through the prompts in turn spaces draws more evenly than
    that, so p is larger then. Prompts that stopped early spread the q, which makes p larger, too.

    >>> drawn = np.ones((20, 20), bool); drawn[0, 12:] = False
    >>> stopped_p(drawn)[:2].round(6).tolist()
    [0.0, 1.0]
    """
    n = drawn.shape[1]
    visits = drawn.sum(1)
    until = n - np.argmax(drawn[:, ::-1], axis=1)
    a, b = _beta_of_counts(drawn[visits > 0, : max(1, n // 2)])
    usable = visits > 0
    v, length = np.where(usable, visits, 1), np.where(usable, until, 1)
    log = betaln(a + v - 1, b + length - v + (n - length)) - betaln(a + v - 1, b + length - v)
    return np.where(usable, np.exp(np.minimum(log, 0.0)), np.nan)


def _beta_of_counts(drawn: NDArray[np.bool_]) -> tuple[float, float]:
    """The Beta distribution of the prompts' probabilities to be drawn in a stretch, by the moments of their counts."""
    m, n = drawn.shape
    if not m:
        return 1.0, 1.0
    counts = drawn.sum(1)
    mean = float(np.clip(counts.mean() / n, 0.5 / (m * n), 1 - 0.5 / (m * n)))
    excess = float(counts.var(ddof=1)) / (n * mean * (1 - mean)) - 1 if m > 1 and n > 1 else float(n)
    alike = np.clip(excess / max(n - 1, 1), 1 / _SURE, 0.9)  # correlation of a prompt's draws
    size = 1 / alike - 1
    return mean * size, (1 - mean) * size


def discoveries(p: Floats, least: Floats | None = None, rate: float = RATE) -> NDArray[np.bool_]:
    """[M] which of the p-values are small enough that at most `rate` of them are expected to be chance (Benjamini and Hochberg, 1995).

    Where all is chance, any at all is found with a probability of at most `rate`. NaN are not tested, nor what could not get as small as
    `rate` whatever had been seen (Gilbert, 2005): that depends on the margins alone.

    >>> discoveries(np.array([0.001, 0.04, 0.8, np.nan])).tolist()
    [True, False, False, False]
    """
    tested = np.isfinite(p) if least is None else np.isfinite(p) & (np.nan_to_num(least, nan=1.0) <= rate)
    ascending = np.sort(p[tested])
    enough = np.flatnonzero(ascending <= rate * np.arange(1, len(ascending) + 1) / max(len(ascending), 1))
    limit = ascending[enough[-1]] if len(enough) else -1.0
    return tested & (np.nan_to_num(p, nan=2.0) <= limit)
