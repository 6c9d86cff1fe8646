"""Certificates of two-valued prompts that hold at any stopping time, whatever the fitted distribution is worth.

For the null hypothesis that p lies in a set H, and weights h on the grid points outside it, frozen before the prompt's own stream,

    E_n = sum_k h_k p_k^s (1 - p_k)^(n - s) / sup_{p in H} p^s (1 - p)^(n - s)

is at most a nonnegative martingale of mean 1 under every p in H, so P(E_n >= 1/delta for any n) <= delta (Ville 1939). Weights that do not
fit the prompt cost samples, never validity. Vanishing rejects p >= epsilon, solved rejects p <= 1 - epsilon, learnable rejects both tails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy

from flatspot.stats.evidence import Floats, Ints
from flatspot.stats.models.binary import GRID, fit_pairs, flat_prior
from flatspot.stats.triage.draws import Draws
from flatspot.stats.zones import STATES

# the share of every alternative that is spread over p evenly: a fit that gives the truth no mass would otherwise never certify it
_EVEN_SHARE = 0.1


def e_values(weights: Floats, epsilon: float, max_samples: int) -> Floats:
    """[N + 1, N + 1, 3] log E of vanishing, learnable, solved at every (n, s); weights [163] is a g fitted without the prompt.

    >>> log_e = e_values(flat_prior(), 0.05, 64)
    >>> abs(log_e[0, 0]).round(6).tolist(), bool(log_e[20, 10, 1] > np.log(20) > log_e[20, 0, 0])
    ([0.0, 0.0, 0.0], True)
    """
    low, high = np.less(GRID, epsilon), np.greater(GRID, 1 - epsilon)
    regions = (low, ~low & ~high, high)
    outside = [(1 - _EVEN_SHARE) * weights[region] / weights[region].sum() + _EVEN_SHARE / region.sum() for region in regions]
    result = np.empty((max_samples + 1, max_samples + 1, 3))
    for n in range(max_samples + 1):
        s = np.arange(n + 1)
        log, best = xlogy(s[:, None], GRID) + xlog1py((n - s)[:, None], -GRID), s / max(n, 1)
        nearest = (
            (np.maximum(best, epsilon),),
            (np.minimum(best, epsilon), np.maximum(best, 1 - epsilon)),
            (np.minimum(best, 1 - epsilon),),
        )
        for state, (region, h, null) in enumerate(zip(regions, outside, nearest, strict=True)):
            sup = np.max([xlogy(s, p) + xlog1py(n - s, -p) for p in null], axis=0)
            top = log[:, region].max(-1)  # e^710 is too large for a float; -inf where n is 0 and the region is an end alone
            top = np.where(np.isfinite(top), top, 0.0)
            with np.errstate(divide="ignore"):
                result[n, : n + 1, state] = np.log(np.exp(log[:, region] - top[:, None]) @ h) + top - sup
        result[n, n + 1 :] = result[n, n]
    return result


@dataclass(frozen=True)
class Certifier:
    """The running certificates of M two-valued prompts.

    log_e     [2, N + 1, N + 1, 3] log e-values, one table for each half of the prompts, fitted to the pilot of the other half
    half      [M] which half a prompt is in
    delta     the error level per prompt
    n, hits   [M] the stream so far
    best      [M, 3] the largest log e-value on the way, per verdict
    """

    log_e: Floats
    half: Ints
    delta: float
    n: Ints
    hits: Ints
    best: Floats

    @classmethod
    def frozen(cls, draws: Draws, high: float, epsilon: float, delta: float, max_samples: int, seed: int) -> Certifier:
        """Nothing seen yet; each half's weights come from the first round of the other half alone, whose size no reward decided."""
        m = draws.n_prompts
        half = np.random.default_rng(seed).permutation(m) % 2
        indices, rewards = draws.rounds[0]
        scored, hits = np.isfinite(rewards).sum(-1), (np.abs(rewards - high) <= 1e-6 * max(abs(high), 1e-300)).sum(-1)
        tables = []
        for own in (0, 1):
            use = (half[indices] != own) & (scored > 0)
            pairs, size = np.unique(np.stack([scored[use], hits[use]], -1), axis=0, return_counts=True)
            weights = fit_pairs(pairs[:, 0], pairs[:, 1], size) if len(pairs) else flat_prior()
            tables.append(e_values(weights, epsilon, max_samples))
        zero = np.zeros(m, np.int64)
        return cls(np.stack(tables), half, delta, zero, zero, np.zeros((m, 3)))

    def update(self, indices: Ints, rewards: Floats, high: float) -> Certifier:
        """After [m, k] more rewards, one column after the other; unscored ones are skipped."""
        n, hits, best = self.n.copy(), self.hits.copy(), self.best.copy()
        for column in rewards.T:
            n[indices] += np.isfinite(column)
            hits[indices] += np.abs(column - high) <= 1e-6 * max(abs(high), 1e-300)
            best[indices] = np.maximum(best[indices], self.log_e[self.half[indices], n[indices], hits[indices]])
        return replace(self, n=n, hits=hits, best=best)

    @property
    def certified(self) -> NDArray[np.bool_]:
        """[M] prompts with a certificate."""
        return np.asarray(self.best.max(-1) >= -np.log(self.delta))

    @property
    def verdict(self) -> NDArray[np.str_]:
        """[M] the certified verdict; empty where there is none."""
        return np.where(self.certified, np.array(STATES)[self.best.argmax(-1)], "")
