"""The expected best of K completions, from the completions themselves."""

from __future__ import annotations

import numpy as np

from flatspot.stats.evidence import Evidence, Floats


def best_of_k(evidence: Evidence, group_size: int) -> Floats:
    """[M] unbiased estimate of E[max of K] from n completions: the mean of the maximum over all subsets of K; NaN where n < K.

    A subset of K has its maximum at or below the j-th smallest reward with probability C(j, K) / C(n, K), so every distinct reward counts
    by what that gains over the one before it. It is unbiased only where no reward decided how many completions there are.

    >>> from flatspot.stats.evidence import evidence_of_rows
    >>> best_of_k(evidence_of_rows(np.array([0, 0, 0, 1]), np.array([0.0, 0.5, 1.0, 1.0]), 2), 2).round(3).tolist()
    [0.833, nan]
    """
    prompt, value, count = evidence.tally.prompt, evidence.tally.reward, evidence.tally.count
    up_to = np.cumsum(count)
    first = np.r_[True, prompt[1:] != prompt[:-1]] if len(prompt) else np.zeros(0, bool)
    up_to = up_to - np.maximum.accumulate(np.where(first, up_to - count, 0))  # within each prompt
    n = evidence.n[prompt]
    below = np.ones(len(prompt))
    for j in range(group_size):
        below *= np.maximum(up_to - j, 0) / np.maximum(n - j, 1)
    share = below - np.where(first, 0.0, np.r_[0.0, below[:-1]])
    best = np.bincount(prompt, share * value, evidence.n_prompts)
    return np.where(evidence.n >= group_size, best, np.nan)
