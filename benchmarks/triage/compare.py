"""Triage against its rivals, at equal error and at equal generations: python benchmarks/triage/compare.py [--quick]

Writes results.json and the tables of README.md beside this file. Every rule sees the same rewards. "Tuned" rules are given the truth to
choose their setting by; EB-DP, the flat prior and the nominal SPRT are not; the oracle prior knows the distribution of p but no label.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from populations import BINARY, OTHER
from rivals import dynamic, families, flat, on_grid, sprt, tuned, wrong_share

from flatspot.core.settings import ADVANTAGES
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.triage.loop import triage
from flatspot.stats.zones import STATES, Zones

HERE = Path(__file__).parent
ZONES, CAP = Zones(0.05), 64
TARGETS = {0.05: 9.0, 0.03: 12.5, 0.02: 16.0, 0.01: 22.0}
SIZES = (4, 8, 16, 32)


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
    """One population at every target: a row per target, and the forecast's errors."""
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
    row["forecast error"] = _forecast(ps, results)
    return row


def _entry(result):
    return {"setting": result[0], "error": result[1], "generations": result[2]}


def _forecast(ps, results):
    """Distance of the forecast from the share of mixed groups among the true p of the set, per group size, in points."""
    distance = []
    for p, t in zip(ps, results, strict=True):
        truth = np.array([(1 - p**k - (1 - p) ** k).mean() for k in SIZES])
        distance.append(np.abs(t.fitted.mixed_shares(SIZES, 1)[0] - truth))
    return (100 * np.mean(distance, 0)).round(2).tolist()


def coverage(name, m, sets):
    """Share of sets whose 90% forecast limits hold the population's share of mixed groups, per group size."""
    many = BINARY[name](1_000_000, np.random.default_rng(7))
    truth = np.array([(1 - many**k - (1 - many) ** k).mean() for k in SIZES])
    inside = []
    for seed in range(sets):
        rng = np.random.default_rng(5000 + seed)
        p = BINARY[name](m, rng)
        t = triage(lambda i, k, p=p, rng=rng: (rng.random((len(i), k)) < p[i, None]).astype(float), m)
        lo, hi = np.quantile(t.fitted.mixed_shares(SIZES, 150)[1], [0.05, 0.95], axis=0)
        inside.append((lo <= truth) & (truth <= hi))
    return {"population": name, "n_prompts": m, "sets": sets, "inside": np.mean(inside, 0).round(3).tolist()}


def worst_case(name, m, seeds):
    """With `worst_case`: a row per target, with the share of sets whose realized error is above it."""
    rows = []
    for target in TARGETS:
        per_set = []
        for seed in range(seeds):
            p = BINARY[name](m, np.random.default_rng(1000 + seed))
            table = (np.random.default_rng(seed).random((m, CAP)) < p[:, None]).astype(float)
            t = triage(served(table), m, target_error=target, worst_case=True)
            error = wrong_share(ZONES, p, index_of(t.verdict))
            per_set.append((error, t.worst_case_error, t.n_samples.mean(), (t.verdict == "undecided").mean(), error > target))
        error, limit, generations, undecided, above = map(float, np.nanmean(per_set, 0))
        entry = {"error": error, "limit": limit, "generations": generations, "undecided": undecided, "above": above}
        rows.append({"population": name, "n_prompts": m, "target": target} | entry)
    return rows


def other(name, m, seeds, targets):
    """Graded rewards: realized and predicted error, generations, and what the model says of itself, for both kinds of advantages."""
    rows = []
    for advantage, target in itertools.product(ADVANTAGES, targets):
        per_set = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            rewards = OTHER[name](m, rng)
            t = triage(rewards.draw, m, target_error=target, reward_range=(rewards.low, rewards.high), advantage=advantage)
            loss = Zones(0.05, rewards.low, rewards.high, advantage=advantage).loss(rewards.odds, rewards.high - rewards.low)
            labels = index_of(t.verdict)
            error = loss[np.flatnonzero(labels >= 0), labels[labels >= 0]].mean()
            per_set.append((error, t.predicted_error, t.n_samples.mean(), (labels < 0).mean()))
        error, predicted, generations, undecided = map(float, np.mean(per_set, 0))
        noise = float(np.std([row[0] - row[1] for row in per_set], ddof=1) / np.sqrt(seeds)) if seeds > 1 else float("nan")
        entry = {"error": error, "predicted": predicted, "noise": noise, "generations": generations, "undecided": undecided}
        entry["sets"] = seeds
        rows.append({"population": name, "advantage": advantage, "target": target, "model": t.model, "caveat": bool(t.caveats)} | entry)
    return rows


def limits(name, m):
    """Graded rewards: shares of prompts whose mean, mixed groups and gain lie within their 95% limits, by completions."""
    rows = []
    for n in (4, 8, 16, 64):
        rewards = OTHER[name](m, np.random.default_rng(0))
        evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.draw(np.arange(m), n).ravel(), m)
        model = fit(evidence, np.full(m, np.nan), Zones(0.05, rewards.low, rewards.high))
        inside = {}
        for what, truth in (("mean", rewards.mean), ("mixed", rewards.odds.mixed), ("gain", rewards.odds.gain)):
            lo, hi = getattr(model.limits, what).T
            inside[what] = float(((lo <= truth + 1e-9) & (truth <= hi + 1e-9)).mean())
        rows.append({"population": name, "completions": n, "model": model.family} | inside)
    return rows


def small(name, m, sets):
    """Few prompts: realized error over many sets."""
    rows = []
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        p = BINARY[name](m, rng)
        t = triage(lambda i, k, p=p, rng=rng: (rng.random((len(i), k)) < p[i, None]).astype(float), m)
        v = index_of(t.verdict)
        rows.append((wrong_share(ZONES, p, v), t.n_samples.mean(), (v < 0).mean()))
    error, generations, undecided = map(float, np.nanmean(rows, 0))
    return {"population": name, "n_prompts": m, "error": error, "generations": generations, "undecided": undecided}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", metavar="SECTION", help="run these alone, keep the others of results.json; none: only the tables"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, three populations, nothing written")
    options = parser.parse_args()
    quick = options.quick
    names = list(BINARY)[: 3 if quick else None]
    seeds = 1 if quick else 20
    sections = {
        "binary": lambda: [row for name in names for row in binary(name, 1000, seeds)],
        "small": lambda: [small(name, m, 10 if quick else 60) for name in list(BINARY)[:3] for m in (10, 50, 100)],
        "coverage": lambda: [coverage(name, 300, 5 if quick else 40) for name in names],
        "worst_case": lambda: [row for name in names for row in worst_case(name, 1000, seeds)],
        "limits": lambda: [row for name in OTHER for row in limits(name, 1000)],
        "other": lambda: [row for name in OTHER for row in other(name, 500, 1 if quick else 10, (0.05, 0.02))],
    }
    results = json.loads((HERE / "results.json").read_text()) if options.only is not None else {"seconds": {}}
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

    engine, real = HERE / "engine_side.json", HERE / "real.md"
    engine = json.loads(engine.read_text()) if engine.exists() else None
    return render(results, TARGETS, engine, real.read_text() if real.exists() else None)


if __name__ == "__main__":
    main()
