"""Moderated variances: a prior fitted to the variances of all prompts (limma's moments), so that each prompt's own is shrunk towards it.

sigma2_post = (d0 s0^2 + d s^2) / (d0 + d), d = n - 1, and sigma^2 ~ (d0 + d) sigma2_post / chi2(d0 + d).
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, polygamma

from flatspot.stats.evidence import Floats

_MAX_PRIOR_DOF = 1000.0


def variance_prior(variance: Floats, dof: Floats) -> tuple[float, float]:
    """(d0, s0^2) of the scaled inverse chi-square prior on the variance, from the moments of the log sample variances.

    With fewer than three positive variances there is nothing to pool: (0, 0).
    """
    use = (variance > 0) & (dof > 0)
    if use.sum() < 3:
        return 0.0, 0.0
    half = dof[use] / 2
    logs = np.log(variance[use]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    d0 = 2 * _inverse_trigamma(float(excess)) if excess > 0 else _MAX_PRIOR_DOF
    d0 = min(d0, _MAX_PRIOR_DOF)
    return d0, float(np.exp(logs.mean() + digamma(d0 / 2) - np.log(d0 / 2)))


def _inverse_trigamma(y: float) -> float:
    x = 0.5 + 1 / y
    for _ in range(50):
        step = float(polygamma(1, x) * (1 - polygamma(1, x) / y) / polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x
