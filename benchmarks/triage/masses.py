"""Triage with the probabilities of completions against triage without: python benchmarks/triage/masses.py [--quick | --text]

Replays masses_*.parquet, drawn by sample_masses.py: the rows of each prompt in 10 random orders, every completion with its probability. "As
rewards" sees the rewards alone; "with masses" is what `flatspot diagnose --deterministic-reward` does: what is proved, and what new draws
say. The truth of a prompt is the mean of 256 rewards that were drawn with other seeds (of the other sets, of its own rows), taken into what
all of its rows prove. Certificates are also held against policies whose every completion is known.

Writes masses.json and masses.md, which compare.py takes into the README.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from flatspot.rollouts.rounds import Seen, run_rounds
from flatspot.stats.completed import completed
from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.proved import proof_of
from flatspot.stats.triage.decider import Adaptive, finish
from flatspot.stats.triage.plan import Plan
from flatspot.stats.zones import STATES, Odds, Zones, gain_of, mixed_of

HERE = Path(__file__).parent
TARGETS, ORDERS, CAP = (0.1, 0.05, 0.03, 0.02, 0.01), 10, 64
ZONES = Zones(0.05)
ERROR = 0.0002  # nats a token, as rollouts.store takes it for float32
SETS = {"short": "short answers", "other": "other tasks", "long": "long answers"}


@dataclass(frozen=True)
class Recorded:
    """[M, N] rows of M prompts, and the truth [M] of each one's mean."""

    ids: list
    completion: np.ndarray
    answer: np.ndarray
    mass: np.ndarray
    reward: np.ndarray
    tokens: np.ndarray
    truth: np.ndarray


def read(name, folder=HERE):
    table = pq.read_table(folder / f"masses_{name}.parquet")
    ids = list(dict.fromkeys(table["prompt_id"].to_pylist()))
    completion, answer, logprob, tokens, reward = (
        table[c].to_numpy().astype(float).reshape(len(ids), -1) for c in ("completion", "answer", "logprob", "n_tokens", "reward")
    )
    mass = np.exp(logprob - ERROR * (tokens + 1))
    known = whole(completion.astype(int), reward, mass)
    proved = known.firsts.within(0.0, 1.0).proved
    other = independent(name, ids)
    mean = reward.mean(1) if other is None else other
    return Recorded(ids, completion.astype(int), answer.astype(int), mass, reward, tokens, np.clip(mean, *proved.T))


def independent(name, ids):
    """[M] the mean of the 256 rewards of sample_real.py, drawn with other seeds; None for other sets."""
    if name != "short":
        return None
    table = pq.read_table(HERE / "real_rewards.parquet")
    names, rewards = np.array(table["prompt_id"].to_pylist()), table["reward"].to_numpy()
    order = np.argsort(names, kind="stable")
    found, start = np.unique(names[order], return_index=True)
    return np.array([np.split(rewards[order], start[1:])[np.searchsorted(found, i)].mean() for i in ids])


def whole(completion, reward, mass):
    m, n = completion.shape
    return known_mass(np.repeat(np.arange(m), n), completion.ravel(), reward.ravel(), mass.ravel(), m)


def shuffled(rows, seed):
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(rows.reward.shape[1]), (len(rows.ids), 1)), axis=1)
    return [np.take_along_axis(a, order, 1) for a in (rows.completion, rows.mass, rows.reward, rows.tokens)]


def replay(rows, target, seed, masses, round_size=1):
    """(the triage, [M] rows, [M] tokens, seconds of deciding) of one order."""
    completion, mass, reward, tokens = shuffled(rows, seed)
    m = len(reward)
    plan = Plan(m, ZONES.epsilon, target, min(CAP, reward.shape[1]), reward_range=(0.0, 1.0), pilot=2, round_size=round_size, proofs=masses)
    decider = Adaptive(plan)

    def draw(this):
        at = this.prompts[:, None], this.first[:, None] + np.arange(this.n_completions)
        return reward[at], Seen(completion[at], mass[at]) if masses else None

    began = time.process_time()
    run_rounds(decider, draw)
    answer = finish(decider.state)
    spent = time.process_time() - began
    used = np.arange(reward.shape[1]) < answer.n_samples[:, None]
    return answer, answer.n_samples, (tokens * used).sum(1), spent


def wrong(truth):
    """[M, 3] whether each verdict is wrong beyond indifference."""
    return ZONES.loss(Odds(mixed_of(truth, 8), gain_of(truth, 8), 1 - truth), 1.0)


def measured(rows, target, masses, orders):
    """What triage does at a target, over the orders; and the proved intervals [orders * M, 2] that it ended with."""
    loss, out, intervals = wrong(rows.truth), [], []
    for seed in range(orders):
        answer, n, tokens, seconds = replay(rows, target, seed, masses)
        label = np.array([STATES.index(v) if v in STATES else -1 for v in answer.verdict])
        given = label >= 0
        error = loss[np.flatnonzero(given), label[given]]
        proved = getattr(answer.fitted, "proved", np.zeros(len(label), bool)) & given
        rest = given & ~proved
        of_rest = loss[np.flatnonzero(rest), label[rest]].mean() if rest.any() else 0.0
        said_of_rest = answer.decisions.error[rest].mean() if rest.any() else 0.0
        out.append(
            (error.mean(), answer.predicted_error, of_rest, said_of_rest, proved.mean(), n.mean(), tokens.mean(), (~given).mean(), seconds)
        )
        if masses:
            intervals.append(answer.fitted.proof.bounds(8).mean)
        wrong_proofs = float(error[proved[given]].sum())
        out[-1] += (wrong_proofs,)
    names = (
        "error",
        "predicted",
        "error_unproved",
        "predicted_unproved",
        "proved",
        "rows",
        "tokens",
        "undecided",
        "seconds",
        "wrong_proofs",
    )
    summary = dict(zip(names, np.mean(out, 0).tolist(), strict=True))
    summary["wrong_proofs"] *= orders
    return {"target": target, "masses": masses, **summary}, intervals


def violated(rows, intervals):
    """(prompt-runs, of them those whose proved interval is 4 standard errors away from the mean of independent rewards)."""
    independent_mean = independent("short", rows.ids)
    lo, hi = np.concatenate(intervals).T
    mean = np.tile(independent_mean, len(intervals))
    nearest = np.clip(mean, lo, hi)
    return len(mean), int((np.abs(mean - nearest) > 4 * np.sqrt(np.maximum(nearest * (1 - nearest), 1e-9) / 256) + 1e-9).sum())


def against_enumeration(runs):
    """(prompt-runs, wrong intervals, proved verdicts, of them wrong) of triage on policies whose every completion is known."""
    wrong_intervals, proofs, wrong_proofs, missed = 0, 0, 0, 0
    for seed in range(runs // 250):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.full(40, rng.choice([0.03, 0.1, 0.3])), 250)
        reward = (rng.random(p.shape) < rng.beta(0.3, 0.5, 250)[:, None]).astype(float)
        at = np.stack([rng.choice(40, CAP, p=row) for row in p])
        rows = Recorded(
            list(range(250)),
            at,
            at,
            np.take_along_axis(p, at, 1),
            np.take_along_axis(reward, at, 1),
            np.ones(at.shape),
            (p * reward).sum(1),
        )
        answer, *_ = replay(rows, TARGETS[1 + seed % 4], seed, True, round_size=4)
        lo, hi = answer.fitted.proof.bounds(8).mean.T
        label = np.array([STATES.index(v) if v in STATES else -1 for v in answer.verdict])
        proved = answer.fitted.proved & (label >= 0)
        wrong_intervals += int(((rows.truth < lo - 1e-9) | (rows.truth > hi + 1e-9)).sum())
        wrong_proofs += int(wrong(rows.truth)[np.flatnonzero(proved), label[proved]].sum())
        proofs += int(proved.sum())
        lo, hi = completed(answer.fitted.proof.known, 0.0, 1.0).mean_limits.T
        missed += int(((rows.truth < lo - 1e-9) | (rows.truth > hi + 1e-9)).sum())
    return {"runs": runs, "wrong_intervals": wrong_intervals, "proofs": proofs, "wrong_proofs": wrong_proofs, "missed_limits": missed}


def at_equal_error(results):
    """Rows with masses over rows as rewards at the same realized error, for each target at which the latter reach it: by interpolation."""
    ours, theirs = ([r for r in results if r["masses"] == masses] for masses in (True, False))
    if all(a["rows"] == b["rows"] for a, b in zip(ours, theirs, strict=True)):
        return [(r["target"], 1.0) for r in theirs]
    error, rows = np.array([r["error"] for r in ours]), np.array([r["rows"] for r in ours])
    order = np.argsort(error)
    out = []
    for r in theirs:
        inside = error.min() <= r["error"]
        out.append((r["target"], float(np.interp(r["error"], error[order], rows[order]) / r["rows"]) if inside else None))
    return out


def known_after(rows, counts):
    """{rows: (median known mass, share of prompts whose verdict is proved)} in the order recorded."""
    out = {}
    for n in (n for n in counts if n <= rows.reward.shape[1]):
        known = whole(rows.completion[:, :n], rows.reward[:, :n], rows.mass[:, :n])
        proof = proof_of(known, np.ones(len(rows.ids)), ZONES, binary=True)
        out[n] = (float(np.median(known.total)), float(proof.holds.mean()))
    return out


def by_answer(rows):
    """The largest summed probability of the completions that end in one answer, median and most over the prompts; how many answers."""
    most = [max(np.bincount(a, m * f)) for a, m, f in zip(rows.answer, rows.mass, firsts(rows.completion), strict=True)]
    return {"median": float(np.median(most)), "most": float(np.max(most)), "answers": float(np.mean([len(set(a)) for a in rows.answer]))}


def firsts(completion):
    """[M, N] whether a completion is the first of its kind."""
    out = np.zeros(completion.shape, bool)
    for i, row in enumerate(completion):
        out[i, np.unique(row, return_index=True)[1]] = True
    return out


def main():
    if "--text" in sys.argv:  # of what was measured
        (HERE / "masses.md").write_text(text_of(json.loads((HERE / "masses.json").read_text())))
        return
    quick = "--quick" in sys.argv
    orders, runs = (1, 500) if quick else (ORDERS, 10_000)
    results = {"sets": {}, "enumeration": against_enumeration(runs)}
    print(results["enumeration"], flush=True)
    for name, title in SETS.items():
        if not (HERE / f"masses_{name}.parquet").exists():
            continue
        rows, table, intervals = read(name), [], []
        for target in TARGETS:
            for masses in (False, True):
                row, more = measured(rows, target, masses, orders)
                table.append(row)
                intervals += more
                print(name, {k: round(v, 4) for k, v in row.items()}, flush=True)
        entry = {"title": title, "prompts": len(rows.ids), "samples": rows.reward.shape[1], "triage": table}
        entry |= {"known": known_after(rows, (1, 4, 8, 16, 32, 64)), "equal_error": at_equal_error(table), "by_answer": by_answer(rows)}
        if name == "short":
            entry["violated"] = violated(rows, intervals)
        results["sets"][name] = entry
    if not quick:
        (HERE / "masses.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "masses.md").write_text(text_of(results))
    print(text_of(results))


def text_of(results):
    """The tables, as Markdown."""
    lines = ["`python benchmarks/triage/masses.py`: SmolLM2-135M-Instruct in float32, 10 random orders of the recorded rows.", ""]
    for entry in results["sets"].values():
        lines += [f"{entry['title'][0].upper()}{entry['title'][1:]}: {entry['prompts']} prompts, {entry['samples']} samples each.", ""]
        head = ["target", "", "realized error", "predicted", "of those not proved", "proved", "rows per prompt", "tokens per prompt"]
        lines += ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
        for r in entry["triage"]:
            rest = f"{r['error_unproved']:.1%} ({r['predicted_unproved']:.1%} predicted)" if r["masses"] else ""
            cells = [
                f"{r['target']:.0%}",
                "with masses" if r["masses"] else "as rewards",
                f"{r['error']:.1%}",
                f"{r['predicted']:.1%}",
                rest,
            ]
            cells += [f"{r['proved']:.0%}" if r["masses"] else "", f"{r['rows']:.1f}", f"{r['tokens']:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
        shares = "; ".join(f"{target:.0%}: {'not reached' if s is None else f'{s:.2f}'}" for target, s in entry["equal_error"])
        known = "; ".join(f"{n}: {mass:.2g} ({share:.0%})" for n, (mass, share) in entry["known"].items())
        lines += ["", f"Rows with masses over rows as rewards, at the realized error that the latter have at each target: {shares}.", ""]
        lines += [f"Median known mass (share of the prompts that are proved) after so many rows of each: {known}.", ""]
    long = results["sets"].get("long")
    if long:
        b = long["by_answer"]
        lines += [
            f"Long answers end in {b['answers']:.1f} different numbers a prompt. The completions that end in the same one, taken as one "
            f"event, have the summed probability {b['median']:.1g} at the likeliest number of the median prompt, and {b['most']:.2g} at "
            "most: by answers, too, nothing is proved, as what is known of an event is what is known of its completions.",
            "",
        ]
    runs, bad = results["sets"]["short"]["violated"]
    e = results["enumeration"]
    lines += [
        f"Certificates: of {runs:,} prompt-runs on the short answers, the proved interval of {bad} lies more than 4 standard errors from "
        f"the mean of 256 rewards drawn with other seeds; {sum(r['wrong_proofs'] for r in results['sets']['short']['triage']):.0f} proved "
        f"verdicts are wrong. Of {e['runs']:,} prompt-runs on policies whose every completion is known, {e['wrong_intervals']} intervals "
        f"miss the mean, and of {e['proofs']:,} proved verdicts {e['wrong_proofs']} are wrong; their 95% "
        f"limits of the mean miss it in {e['missed_limits'] / e['runs']:.2%}, where the rewards decided when to stop.",
    ]
    engine = HERE / "masses_engine.json"
    if engine.exists():
        lines += ["", "Whole runs on the demo's 59 prompts (`masses_engine.py`, one core):", ""]
        lines += ["| target | | rows | tokens | CPU seconds |", "| --- " * 5 + "|"]
        for r in json.loads(engine.read_text()):
            how = f"with masses, {r['proved']} proved" if r["masses"] else "as rewards"
            lines.append(f"| {r['target']:.0%} | {how} | {r['rows']} | {r['tokens']} | {r['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
