"""The likeliest distribution over a grid, to the last digit that matters: Newton's method, where EM would need tens of thousands of steps.

With likelihoods L [C, K] of C kinds of prompts, w of each, the g >= 0 that maximises

    sum_c w_c log(L g)_c + e sum_k log g_k,      sum_k g_k = 1,

e > 0 being the pseudo-prompts at each point, which keep g off zero. In the logarithm of g the curvature is B'B + e I with
B = sqrt(w / (L g)^2) L g, so a step costs K^2 (C + K / 3); about fifty of them do. A limit by profile likelihood compares log
likelihoods to within one or two in all, and EM, which gains ever less per step, leaves much more than that on the table in large sets.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from flatspot.stats.evidence import Floats

_FIRST_SHARE = 0.02  # of the prompts as pseudo-prompts, where the descent begins; a tenth each time until `pseudo` is reached
_EM_STEPS = 30
_MOST_STEPS = 60
_ROUGH, _FINE = 1e-2, 1e-3  # how much log likelihood may be left
_NEARLY = 0.95  # of the way to a point of no mass, at most


def likeliest(table: Floats, size: Floats, *, pseudo: float = 1.0, start: Floats | None = None) -> Floats:
    """The g [K] that makes kinds with likelihoods `table` [C, K], `size` [C] prompts of each, likeliest.

    pseudo  pseudo-prompts, spread evenly over the grid
    start   a g > 0 that is near; where it turns out too far, it is not used

    >>> likeliest(np.array([[1.0, 0.5], [0.0, 0.5]]), np.array([75.0, 25.0]), pseudo=1e-6).round(4).tolist()  # g_1 / 2 = 25%
    [0.5, 0.5]
    """
    width = table.shape[1]
    even = pseudo / width
    if start is not None:
        g, there = _climb(table, size, even, start, _FINE)
        if there:
            return g
    smooth = max(even, _FIRST_SHARE * float(size.sum()) / width)
    g = np.full(width, 1 / width)
    for _ in range(_EM_STEPS):
        g = g * ((size / (table @ g)) @ table) + smooth
        g /= g.sum()
    while smooth > even:
        g = _climb(table, size, smooth, g, _ROUGH)[0]
        smooth = max(even, smooth / 10)
    return _climb(table, size, even, g, _FINE)[0]


def _climb(table: Floats, size: Floats, even: float, g: Floats, left: float) -> tuple[Floats, bool]:
    """Newton's steps with backtracking; the g reached, and whether it is within `left` of the top."""
    width = len(g)
    total = float(size.sum()) + even * width  # with this as the price of mass, sum g = 1 at the top
    height = _height(table, size, even, total, g)
    for _ in range(_MOST_STEPS):
        mix = table @ g
        slope = g * ((size / mix) @ table) + even - total * g
        rows = table * g * (np.sqrt(size) / mix)[:, None]
        curvature = rows.T @ rows
        curvature[np.diag_indices(width)] += even
        step = cho_solve(cho_factor(curvature, check_finite=False), slope, check_finite=False)
        gain = float(slope @ step)
        if gain < 2 * left:
            return g / g.sum(), True
        length = min(1.0, _NEARLY / max(float(-step.min()), 1e-300))
        while length > 1e-8:
            higher = _height(table, size, even, total, g * (1 + length * step))
            if higher >= height + 0.1 * length * gain:
                g, height = g * (1 + length * step), higher
                break
            length /= 2
        else:
            break
    return g / g.sum(), False


def _height(table: Floats, size: Floats, even: float, total: float, g: Floats) -> float:
    return float(size @ np.log(table @ g) + even * np.log(g).sum() - total * g.sum())
