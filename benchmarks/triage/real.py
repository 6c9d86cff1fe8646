"""Replay real rewards: python benchmarks/triage/real.py [FILE]

FILE (default real_rewards.parquet beside this file, drawn by sample_real.py) has the columns prompt_id and reward, many samples a prompt,
in the order drawn. All samples of a prompt together are taken as its truth: its mean, and over every group of 8 of them the best one and
whether they differ. Triage is served random ones of them, without replacement. The truth of 256 samples is itself uncertain: prompts that
lie within its noise of a limit count as they fall. Of graded rewards there is a table for each kind of advantages. Without FILE the tables
also go to real.md, which compare.py takes into the README.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from compare import CAP, ZONES, row_of
from rivals import dynamic, families, on_grid, tuned
from tables import equal_cost, equal_error

from flatspot.core.settings import ADVANTAGES
from flatspot.stats.best import best_of_k
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.triage.loop import triage
from flatspot.stats.zones import STATES, Odds, Zones

SIZES, SETS = (4, 8, 16, 32), 10


def read(path):
    """[M, N] rewards, NaN where unscored or short of N."""
    table = pq.read_table(path, columns=["prompt_id", "reward"])
    ids = np.asarray(table["prompt_id"].to_pylist(), dtype=object).astype(str)
    reward = np.array([np.nan if r is None else r for r in table["reward"].to_pylist()], float)
    _, prompt = np.unique(ids, return_inverse=True)
    order = np.argsort(prompt, kind="stable")
    counts = np.bincount(prompt)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.full((len(counts), counts.max()), np.nan)
    out[prompt[order], place] = reward[order]
    return out


def odds_of(rewards, high, k=8):
    """What groups of k would earn: means over every subset of k of a prompt's samples, unbiased; `high` is what no reward passes."""
    rows, _ = np.nonzero(np.isfinite(rewards))
    evidence = evidence_of_rows(rows, rewards[np.isfinite(rewards)], len(rewards))
    prompt, count = evidence.tally.prompt, evidence.tally.count
    j = np.arange(k)
    equal = np.prod(np.maximum(count[:, None] - j, 0) / (evidence.n[prompt][:, None] - j), axis=1)
    return Odds(1 - np.bincount(prompt, equal, len(rewards)), best_of_k(evidence, k) - evidence.mean, np.maximum(high - evidence.mean, 0.0))


def replay(rewards, target, seed, zones, worst_case):
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(rewards, axis=1)
    used = np.zeros(len(rewards), int)

    def draw(indices, k):
        rows = shuffled[indices[:, None], used[indices][:, None] + np.arange(k)]
        used[indices] += k
        return rows

    return triage(
        draw,
        len(rewards),
        target_error=target,
        reward_range=(zones.lo, zones.hi),
        max_samples=min(64, rewards.shape[1]),
        worst_case=worst_case,
        advantage=zones.advantage,
    )


def mixed_share(rewards, k):
    """Held-out groups: the share of disjoint groups of k that are not all equal."""
    groups = rewards[:, : rewards.shape[1] // k * k].reshape(len(rewards), -1, k)
    return float((groups.max(-1) > groups.min(-1)).mean())


def against_rivals(rewards):
    """The rules of compare.py on the same rewards, each prompt's share of ones standing for its p."""
    p = rewards.mean(1)
    tables = [np.random.default_rng(seed).permuted(rewards, axis=1)[:, :CAP] for seed in range(SETS)]
    ps = [p] * SETS
    oracle = dynamic(on_grid(p), ZONES, CAP)
    hindsight = {rule: tuned(settings, tables, ps, ZONES) for rule, settings in families(ZONES, CAP).items()}
    rows = [row_of("real rewards", target, ps, tables, oracle, hindsight) for target in (0.05, 0.03, 0.02, 0.01)]
    equal = "Realized error, %, of each rule's best setting that costs no more than EB-DP."
    return ["", "At equal error, as above:", "", *equal_error(rows).split("\n"), "", equal, "", *equal_cost(rows).split("\n")]


def table(rewards, zones, worst_cases):
    """A row for each target, without and, where it applies, with `worst_case`."""
    loss = zones.loss(odds_of(rewards, zones.hi, zones.group_size), zones.span)
    head = ["target", "worst case", "realized error", "predicted", "its limit", "generations per prompt", "undecided"]
    lines = ["| " + " | ".join([*head, "forecast off by, points, K = 4 / 8 / 16 / 32"]) + " |", "| --- " * (len(head) + 1) + "|"]
    for target, worst_case in itertools.product((0.05, 0.03, 0.02, 0.01), worst_cases):
        per_set, off = [], []
        for seed in range(SETS):
            t = replay(rewards, target, seed, zones, worst_case)
            labels = np.array([STATES.index(v) if v in STATES else -1 for v in t.verdict])
            error = loss[np.flatnonzero(labels >= 0), labels[labels >= 0]].mean()
            per_set.append((error, t.predicted_error, t.worst_case_error, t.n_samples.mean(), (labels < 0).mean()))
            off.append(np.abs(t.fitted.mixed_shares(SIZES, 1)[0] - [mixed_share(rewards, k) for k in SIZES]))
        error, predicted, limit, generations, undecided = np.mean(per_set, 0)
        points = " / ".join(f"{100 * x:.1f}" for x in np.mean(off, 0))
        limit = f"{limit:.1%}" if np.isfinite(limit) else "–"
        shown = [f"{target:.0%}", "yes" if worst_case else "", f"{error:.1%}", f"{predicted:.1%}", limit, f"{generations:.1f}"]
        lines.append("| " + " | ".join([*shown, f"{undecided:.1%}", points]) + " |")
    return lines


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "real_rewards.parquet"
    if not path.exists():
        raise SystemExit(f"{path} is not there: give a Parquet file with the columns prompt_id and reward")
    rewards = read(path)
    low, high = min(0.0, np.nanmin(rewards)), max(1.0, np.nanmax(rewards))
    distinct = len(np.unique(rewards[np.isfinite(rewards)]))
    lines = [f"{len(rewards)} prompts, {rewards.shape[1]} samples each, {distinct} distinct rewards.", ""]
    if distinct == 2:  # for which both kinds of advantages are one
        lines += table(rewards, Zones(0.05, low, high), (False, True)) + against_rivals(rewards)
    else:
        for advantage in ADVANTAGES:
            lines += [f"Advantages {advantage}:", "", *table(rewards, Zones(0.05, low, high, advantage=advantage), (False,)), ""]
    text = "\n".join(lines).rstrip()
    print(text)
    if len(sys.argv) < 2:
        (path.parent / "real.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
