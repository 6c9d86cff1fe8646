"""Triage against its rivals, at equal error and at equal generations: python benchmarks/triage/compare.py [--quick]

Writes results.json and the tables of README.md beside this file. Every rule sees the same rewards. "Tuned" rules are given the truth to
choose their setting by; EB-DP, the flat prior and the nominal SPRT are not; the oracle prior knows the distribution of p but no label. What
is stated against what is true, also of graded rewards, small sets, forecasts and worst cases, is in benchmarks/claims.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from populations import BINARY
from rivals import dynamic, families, flat, on_grid, sprt, tuned, wrong_share

from flatspot.stats.triage.loop import triage
from flatspot.stats.zones import STATES, Zones

HERE = Path(__file__).parent
ZONES, CAP = Zones(0.05), 64
TARGETS = {0.05: 9.0, 0.03: 12.5, 0.02: 16.0, 0.01: 22.0}
SETS = 20  # of 1,000 prompts


def served(table):
    used = np.zeros(len(table), int)

    def draw(indices, k):
        rows = table[indices[:, None], used[indices][:, None] + np.arange(k)]
        used[indices] += k
        return rows

    return draw


def index_of(verdict):
    return np.array([STATES.index(v) if v in STATES else -1 for v in verdict])


def binary(name, m, seeds):
    """One population at every target: a row per target."""
    ps = [BINARY[name](m, np.random.default_rng(1000 + s)) for s in range(seeds)]
    tables = [(np.random.default_rng(s).random((m, CAP)) < p[:, None]).astype(float) for s, p in enumerate(ps)]
    oracle = dynamic(on_grid(BINARY[name](400_000, np.random.default_rng(7))), ZONES, CAP)
    hindsight = {rule: tuned(settings, tables, ps, ZONES) for rule, settings in families(ZONES, CAP).items()}
    return [row_of(name, target, ps, tables, oracle, hindsight) for target in TARGETS]


def row_of(name, target, ps, tables, oracle, hindsight):
    results = [triage(served(t), len(t), target_error=target) for t in tables]
    ours = {
        "error": float(np.mean([wrong_share(ZONES, p, index_of(t.verdict)) for p, t in zip(ps, results, strict=True)])),
        "generations": float(np.mean([t.n_samples.mean() for t in results])),
        "undecided": float(np.mean([(t.verdict == "undecided").mean() for t in results])),
        "predicted": float(np.mean([t.predicted_error for t in results])),
    }
    row = {"population": name, "target": target, "EB-DP": ours}
    for rule, prices in (("oracle prior", oracle), ("flat prior", flat(ZONES, CAP))):
        price = next((c for c, (_, predicted) in sorted(prices.items(), reverse=True) if predicted <= target), min(prices))
        row[rule] = _entry(tuned({price: prices[price][0]}, tables, ps, ZONES)[0])
    row["SPRT nominal"] = _entry(tuned({target: sprt(target, ZONES.epsilon, CAP)}, tables, ps, ZONES)[0])
    for rule, settings in hindsight.items():
        enough = [s for s in settings if s[1] <= max(ours["error"], target)]
        affordable = [s for s in settings if s[2] <= ours["generations"] + 1e-9]
        row[rule] = _entry(min(enough, key=lambda s: s[2])) if enough else None
        row[rule + ", same cost"] = _entry(min(affordable, key=lambda s: s[1])) if affordable else None
    return row


def _entry(result):
    return {"setting": result[0], "error": result[1], "generations": result[2]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", metavar="SECTION", help="run these alone, keep the others of results.json; none: only the tables"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, three populations, nothing written")
    options = parser.parse_args()
    quick = options.quick
    names = list(BINARY)[: 3 if quick else None]
    seeds = 1 if quick else SETS
    sections = {
        "binary": lambda: [row for name in names for row in binary(name, 1000, seeds)],
    }
    stored = json.loads((HERE / "results.json").read_text()) if options.only is not None else {"seconds": {}}
    results = {name: stored[name] for name in ("seconds", *sections) if name in stored}
    for section in sections if options.only is None else options.only:
        began = time.time()
        results[section] = sections[section]()
        results["seconds"][section] = round(time.time() - began)
    text = readme(results)
    print(text)
    if not quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "README.md").write_text(text)


def readme(results):
    from tables import render

    engine, real, masses = HERE / "engine_side.json", HERE / "real.md", HERE / "masses.md"
    engine = json.loads(engine.read_text()) if engine.exists() else None
    return render(results, TARGETS, SETS, engine, *(part.read_text() if part.exists() else None for part in (real, masses)))


if __name__ == "__main__":
    main()
