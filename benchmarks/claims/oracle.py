"""What the fewest completions are for whoever knows the population: optimal stopping, solved backwards over (completions, ones).

At a price c of a completion, in wrong verdicts: J_64 = R, J_n = min(R, c + E J_{n+1}), where R is the least probability of a wrong verdict;
two completions are always drawn. Of the prices, that counts which costs least while the expected error is at most the target.
"""

from __future__ import annotations

import numpy as np

CAP, FEWEST = 64, 2
_PRICES = np.geomspace(0.1, 5e-5, 60)
_POINTS = 600


def fewest_completions(p, wrong, targets):
    """{target: completions per prompt}; NaN where no rule within the cap meets it. p, wrong: of many prompts of the population."""
    points, weight, loss = _condensed(p, wrong)
    n, s = np.arange(CAP + 1)[:, None], np.arange(CAP + 1)[None]
    powers = np.zeros((CAP + 1, CAP + 1, len(points)))
    inside = s <= n
    powers[inside] = (points ** np.broadcast_to(s, inside.shape)[inside][:, None]) * (
        (1 - points) ** np.broadcast_to(n - s, inside.shape)[inside][:, None]
    )
    mass = powers @ weight  # of one path to (n, s)
    safe = np.where(mass > 0, mass, 1.0)
    risk = (powers @ (weight[:, None] * loss)).min(-1) / safe
    rises = (powers @ (weight * points)) / safe
    costs = [_walked(mass, risk, rises, price) for price in _PRICES]
    return {target: min((draws for draws, error in costs if error <= target), default=np.nan) for target in targets}


def _condensed(p, wrong):
    """At most 600 points, each the middle of as many prompts as the others, never across a change of the losses."""
    order = np.lexsort((p, wrong @ [1, 2, 4]))
    p, wrong = p[order], wrong[order]
    kinds = np.cumsum(np.r_[True, (wrong[1:] != wrong[:-1]).any(1)])
    code = kinds * _POINTS + np.arange(len(p)) * _POINTS // len(p)
    _, first, of, size = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return np.bincount(of, p) / size, size / len(p), wrong[first].astype(float)


def _walked(mass, risk, rises, price):
    """(completions, error) of the rule at this price."""
    value, go = risk.copy(), np.zeros(risk.shape, bool)
    for n in range(CAP - 1, -1, -1):
        up = rises[n, : n + 1]
        on = price + up * value[n + 1, 1 : n + 2] + (1 - up) * value[n + 1, : n + 1]
        go[n, : n + 1] = (on < risk[n, : n + 1]) | (n < FEWEST)
        value[n, : n + 1] = np.where(go[n, : n + 1], on, risk[n, : n + 1])
    paths, draws, error = np.ones(1), 0.0, 0.0
    for n in range(CAP + 1):
        here, going = paths * mass[n, : n + 1], go[n, : n + 1]
        error += float(here @ np.where(going, 0.0, risk[n, : n + 1]))
        draws += n * float(here @ ~going)
        onward = paths * going
        paths = np.r_[onward, 0.0] + np.r_[0.0, onward]
    return draws, error
