"""How often the 95% limits of shares hold, of binary rewards: python benchmarks/triage/shares.py [--help]

Two truths: the share of the population in each state, which `FittedModel.shares` is about, and the share of the very prompts that were
drawn, which `FittedModel.set_limits` is about. A row is a population, a number of completions and one of prompts; it has the coverage of
either kind of limits in the worst of the three states, and how wide those of vanishing are. With `--tasks`, prompts come in so many tasks,
and the limits are those for prompts of other tasks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from populations import BINARY, CROWDED, TASKS
from truth import zero_one

from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import STATES, Zones, epsilon_for_group

ZONES = Zones(epsilon_for_group(8))
COMPLETIONS = (3, 4, 8, 16)


def states_of(p):
    return ZONES.states(zero_one(p), 1.0)


def model_of(p, k, rng, clusters=None):
    """Fitted to k completions of each prompt."""
    rewards = (rng.random((len(p), k)) < p[:, None]).astype(float)
    evidence = evidence_of_rows(np.repeat(np.arange(len(p)), k), rewards.ravel(), len(p))
    return fit(evidence, np.full(len(p), np.nan), ZONES, clusters=clusters)


def of_the_set(model, p):
    """[3] whether the limits of the very set hold, and their width for vanishing."""
    wrong, held = ZONES.loss(zero_one(p), 1.0), []
    limits = [model.set_limits(state) for state in range(3)]
    for state, (lo, hi) in enumerate(limits):
        may_be, must_be = 1 - wrong[:, state].mean(), np.delete(wrong, state, 1).min(1).mean()
        held.append(lo <= may_be + 1e-9 and must_be <= hi + 1e-9)
    return np.array(held), limits[0][1] - limits[0][0]


def of_the_population(limits, truth):
    """[S] whether limits [S, 3] hold, and the width of the first."""
    return (limits[:, 1] - 1e-9 <= truth) & (truth <= limits[:, 2] + 1e-9), limits[0, 2] - limits[0, 1]


def coverage(name, m, k, sets):
    """The same two of either kind of limits, over many sets."""
    population = (CROWDED | BINARY)[name]
    truth, rows = states_of(population(1_000_000, np.random.default_rng(7))).mean(0), []
    for seed in range(sets):
        rng = np.random.default_rng(9000 + seed)
        p = population(m, rng)
        model = model_of(p, k, rng)
        rows.append((of_the_population(model.shares, truth), of_the_set(model, p)))
    return [(np.mean([row[i][0] for row in rows], 0), np.mean([row[i][1] for row in rows])) for i in range(2)]


def coverage_of_tasks(name, n_tasks, m, k, sets):
    """For prompts of other tasks: of the shares (95%), and of the mixed groups of 4, 8, 16 and 32 (90%)."""
    many, sizes, rows = TASKS[name](20_000, 50, np.random.default_rng(7)).ravel(), (4, 8, 16, 32), []
    truth, mixed = states_of(many).mean(0), np.array([(1 - many**s - (1 - many) ** s).mean() for s in sizes])
    for seed in range(sets):
        rng = np.random.default_rng(9000 + seed)
        model = model_of(TASKS[name](n_tasks, m // n_tasks, rng).ravel(), k, rng, np.repeat(np.arange(n_tasks), m // n_tasks))
        rows.append((of_the_population(model.shares, truth), of_the_population(model.forecast(sizes), mixed)))
    return [(np.mean([row[i][0] for row in rows], 0), np.mean([row[i][1] for row in rows])) for i in range(2)]


def shown(held, width, names):
    return f"{held.min():6.0%} ({names[held.argmin()]}), {width:4.2f} wide"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--prompts", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--completions", type=int, nargs="+", default=COMPLETIONS)
    parser.add_argument("--tasks", type=int, nargs="*", default=[])
    parser.add_argument("--only", nargs="*", help="populations; all by default")
    options = parser.parse_args()
    for name in options.only or (TASKS if options.tasks else [*CROWDED, *BINARY]):
        for m in options.prompts:
            for k in options.completions:
                for tasks in options.tasks:
                    shares, forecast = coverage_of_tasks(name, tasks, m, k, options.sets)
                    of = f"shares {shown(*shares, names=STATES)}   forecast {shown(*forecast, names=(4, 8, 16, 32))}"
                    print(f"{name:24} {tasks:3} tasks, {m:5,} prompts, {k:2} completions: {of}", flush=True)
                if not options.tasks:
                    of_all, of_set = coverage(name, m, k, options.sets)
                    of = f"population {shown(*of_all, names=STATES)}   the set {shown(*of_set, names=STATES)}"
                    print(f"{name:24} {m:5,} prompts, {k:2} completions: {of}", flush=True)


if __name__ == "__main__":
    main()
