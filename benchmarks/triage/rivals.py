"""Other ways to label prompts, each on the same streams: a table [M, N] of 0/1 rewards gives (verdict index [M], samples [M])."""

from __future__ import annotations

import numpy as np
from truth import zero_one

from flatspot.stats.models.binary import state_table
from flatspot.stats.models.npmle import GRID, flat_prior
from flatspot.stats.triage.stopping import PRICES, stopping_rules, tabulate_states

VANISHING, LEARNABLE, SOLVED = range(3)


def wrong_share(zones, p, verdict):
    """Share of verdicts that are wrong beyond indifference; -1 marks no verdict and is left out."""
    table = zones.loss(zero_one(p), 1.0)
    judged = verdict >= 0
    return float(table[np.flatnonzero(judged), verdict[judged]].mean()) if judged.any() else float("nan")


def _follow(rule, risk, table):
    s, n = np.zeros(len(table), int), np.zeros(len(table), int)
    for column in table.T:
        going = rule.go[n, s]
        s[going] += column[going].astype(int)
        n[going] += 1
    return risk[n, s].argmin(-1), n


def dynamic(weights, zones, cap):
    """Optimal stopping under a given prior, one rule per price: {price: rule}."""
    view = tabulate_states(weights, state_table(zones, 0.0, 1.0)[1], cap)
    return {rule.price: (lambda t, rule=rule: _follow(rule, view.risk, t), rule.error[0, 0]) for rule in stopping_rules(view, PRICES)}


def on_grid(p):
    """The true distribution of p, on the grid."""
    middle = (GRID[1:] + GRID[:-1]) / 2
    weights = np.bincount(np.searchsorted(middle, p), minlength=len(GRID)) + 1e-9
    return weights / weights.sum()


def flat(zones, cap):
    return dynamic(flat_prior(), zones, cap)


def fixed(k):
    """k samples, the plug-in share."""

    def label(table, eps=0.05):
        share = table[:, :k].mean(1)
        return np.where(share < eps, VANISHING, np.where(share > 1 - eps, SOLVED, LEARNABLE)), np.full(len(table), k)

    return label


def first_mixed(k):
    """Stop at the first mixed group, or after k equal samples."""

    def label(table):
        differs = table[:, :k] != table[:, :1]
        mixed = differs.any(1)
        return np.where(mixed, LEARNABLE, np.where(table[:, 0] > 0, SOLVED, VANISHING)), np.where(mixed, differs.argmax(1) + 1, k)

    return label


def sprt(alpha, eps, cap):
    """Wald's test of p = eps/2 against 2 eps, and its mirror, until both are decided; at the cap by the sign."""
    bound = np.log((1 - alpha) / alpha)
    up, down = np.log(2 * eps / (eps / 2)), np.log((1 - 2 * eps) / (1 - eps / 2))

    def one(table):
        walk = np.cumsum(np.where(table > 0, up, down), 1)
        out = np.abs(walk) >= bound
        at = np.where(out.any(1), out.argmax(1), cap - 1)
        return walk[np.arange(len(walk)), at] > 0, at + 1

    def label(table):
        above, n_low = one(table[:, :cap])
        below, n_high = one(1 - table[:, :cap])
        return np.where(~above, VANISHING, np.where(~below, SOLVED, LEARNABLE)), np.where(
            ~above, n_low, np.where(~below, n_high, np.maximum(n_low, n_high))
        )

    return label


def tuned(family, tables, ps, zones):
    """Every setting of a rule: [(setting, realized error, samples per prompt)], averaged over the sets."""
    rows = []
    for setting, label in family.items():
        labels = [label(t) for t in tables]
        error = np.mean([wrong_share(zones, p, v) for p, (v, _) in zip(ps, labels, strict=True)])
        rows.append((setting, float(error), float(np.mean([n.mean() for _, n in labels]))))
    return rows


def families(zones, cap):
    """The rules that are tuned in hindsight, by name."""
    alphas = np.geomspace(0.49, 0.001, 30)
    return {
        "fixed K": {k: fixed(k) for k in range(1, cap + 1)},
        "first mixed": {k: first_mixed(k) for k in range(1, cap + 1)},
        "SPRT tuned": {float(a): sprt(a, zones.epsilon, cap) for a in alphas},
    }
