"""How often the 95% limits of shares hold, of binary rewards: python benchmarks/triage/shares.py [--help]

Two truths: the share of the population in each state, which `FittedModel.shares` is about, and the share of the very prompts that were
drawn, which `FittedModel.set_shares` is about. A row is a population, a number of completions and one of prompts; it has the coverage of
either kind of limits in the worst of the three states, and how wide those of vanishing are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from populations import BINARY, CROWDED
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import STATES, Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))
COMPLETIONS = (3, 4, 8, 16)


def states_of(p):
    return ZONES.states(zero_one(p), 1.0)


def model_of(p, k, rng):
    """Fitted to k completions of each prompt."""
    rewards = (rng.random((len(p), k)) < p[:, None]).astype(float)
    return fit(evidence_of_rows(np.repeat(np.arange(len(p)), k), rewards.ravel(), len(p)), np.full(len(p), np.nan), ZONES)


def coverage(population, m, k, sets):
    """[2, 3] share of sets in which the limits of the population and of the set hold, by state; [2] mean width for vanishing."""
    truth = states_of(population(1_000_000, np.random.default_rng(7))).mean(0)
    held, width = np.zeros((2, 3)), np.zeros(2)
    for seed in range(sets):
        rng = np.random.default_rng(9000 + seed)
        p = population(m, rng)
        model = model_of(p, k, rng)
        for i, (limits, right) in enumerate(((model.shares, truth), (getattr(model, "set_shares", model.shares), states_of(p).mean(0)))):
            held[i] += (limits[:, 1] - 1e-9 <= right) & (right <= limits[:, 2] + 1e-9)
            width[i] += limits[0, 2] - limits[0, 1]
    return held / sets, width / sets


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--prompts", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--completions", type=int, nargs="+", default=COMPLETIONS)
    parser.add_argument("--only", nargs="*", default=[*CROWDED, *BINARY])
    options = parser.parse_args()
    print(f"{'population':24} {'prompts':>7} {'K':>3}  population: held, width   the set: held, width   (worst of {', '.join(STATES)})")
    for name in options.only:
        for m in options.prompts:
            for k in options.completions:
                held, width = coverage((CROWDED | BINARY)[name], m, k, options.sets)
                of = "          ".join(f"{h.min():6.0%} {STATES[h.argmin()][:4]} {w:5.2f}" for h, w in zip(held, width, strict=True))
                print(f"{name:24} {m:7,} {k:3}  {of}", flush=True)


if __name__ == "__main__":
    main()
