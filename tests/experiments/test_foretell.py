"""experiments/foretell: what it computes, against sums over pairs and closed forms, and a tiny setting from the start to the tables."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "foretell"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def scripts():
    """The modules `measures`, `summary` and `scan`, whose names are forgotten afterwards: other experiments use them too."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        import measures
        import scan
        import summary

        yield measures, summary, scan
    finally:
        folders = [str(FOLDER), str(FOLDER.parent / "letters")]
        sys.path[:] = [path for path in sys.path if path not in folders]
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER.parent)):
                del sys.modules[name]


@pytest.mark.parametrize("values", [3, 50])  # few: many ties
def test_auc_is_the_share_of_pairs(scripts, values):
    measures = scripts[0]
    for _ in range(20):
        score, moved = RNG.integers(values, size=30).astype(float), RNG.random(30) < 0.3
        pairs = [(a > b) + (a == b) / 2 for a in score[moved] for b in score[~moved]]
        assert measures.auc(score, moved) == pytest.approx(np.mean(pairs))
    assert math.isnan(measures.auc(score, np.zeros(30, bool)))


@pytest.mark.parametrize("values", [3, 50])
def test_the_rank_correlation_is_that_of_mean_places(scripts, values):
    def places(numbers):
        ordered = sorted(numbers)
        return [np.mean([i for i, other in enumerate(ordered) if other == one]) for one in numbers]

    for _ in range(20):
        a, b = RNG.integers(values, size=25).astype(float), RNG.integers(values, size=25).astype(float)
        assert scripts[0].rank_correlation(a, b) == pytest.approx(np.corrcoef(places(a), places(b))[0, 1])
    assert math.isnan(scripts[0].rank_correlation(np.ones(25), b))


def test_binary_rewards_move_beyond_two_standard_errors(scripts):
    measures, n = scripts[0], 64
    ones = np.arange(n + 1)
    before, after = (part.ravel() for part in np.meshgrid(ones, ones))

    def sample(hits):
        p = hits / n
        return measures.Sample(p, np.sqrt(p * (1 - p) * n / (n - 1)), n)

    moved = measures.change(sample(before), sample(after))[2]
    # |a - b| > 2 sqrt((a(n - a) + b(n - b)) / (n - 1)), in whole numbers
    beyond = (after - before) ** 2 * (n - 1) > 4 * (before * (n - before) + after * (n - after))
    assert (moved == np.where(beyond, np.sign(after - before), 0)).all()
    assert 0 < beyond.sum() < len(beyond)


def test_noise_alone_moves_a_prompt_in_20(scripts):
    measures, n = scripts[0], 128
    draws = RNG.random((2, 4000, n)) < 0.4
    first, second = (measures.Sample(part.mean(1), part.std(1, ddof=1), n) for part in draws)
    assert np.mean(measures.change(first, second)[2] != 0) == pytest.approx(0.0455, abs=0.012)  # of a normal difference


def test_candidates_of_binary_rewards_follow_from_p(scripts):
    p, k = np.array([0.0, 0.1, 0.5, 1.0]), 8
    columns = {
        "mean": p, "std": np.sqrt(p * (1 - p)), "r_star": np.array([np.nan, 1.0, 1.0, 1.0]), "p_mixed": 1 - p**k - (1 - p) ** k,
        "gain": 1 - (1 - p) ** k - p, "relative_std": np.full(4, np.nan), "relative_gain": np.full(4, np.nan),
    }  # fmt: skip
    every = scripts[0].candidates(columns, top=1.0)
    assert list(every) == list(scripts[0].CANDIDATES)
    assert every["gap"] == pytest.approx(1 - p)
    assert every["gain_over_headroom"][:3] == pytest.approx(1 - (1 - p[:3]) ** (k - 1), abs=1e-9)  # (1 - (1-p)^K - p) / (1 - p)
    assert every["gain_over_headroom"][3] == 0 and not every["relative_std"].any()


def made_up(half, advantage="centered", q=0.5, n=200):
    """A run whose prompts moved up exactly where a group is mixed with a probability above q."""
    mixed = RNG.random(n)
    names = ("std", "relative_std", "gap", "relative_gain", "gain_over_headroom", "mean", "before", "after")
    prompts = dict.fromkeys(names, np.zeros(n).tolist()) | {
        "id": [str(i) for i in range(n)], "verdict": np.where(mixed > 0.34, "learnable", "vanishing").tolist(),
        "trained_on": [True] * n, "p_mixed": mixed.tolist(), "gain": np.ones(n).tolist(), "change": (mixed > q).astype(float).tolist(),
        "moved": (mixed > q).astype(int).tolist(), "moved_untrained": [0] * n, "error": np.zeros(n).tolist(),
    }  # fmt: skip
    return {"setting": "capitals", "half": half, "trainer": "grpo-centered", "advantage": advantage, "group_size": 8, "prompts": prompts}


def test_the_scan_chooses_on_one_half_alone(scripts):
    scan = scripts[2]
    results = [made_up("choose", q=0.5), made_up("report", q=0.2)]
    limits = scan.best(results[:1])
    assert limits.q == pytest.approx(0.5, abs=0.02) and limits.delta == scan.DELTA
    chosen, chosen_report = scan.lines(results)[2:]
    assert f"q {limits.q:.2f}" in chosen and "half to report" in chosen_report
    report = scan.of_half(results[1:], limits)
    assert f"{report['criterion']:.3f}" in chosen_report
    assert report["criterion"] < scan.of_half(results[:1], limits)["criterion"]


def test_the_summary_counts_what_moved(scripts):
    summary, result = scripts[1], made_up("choose")
    moved, vanishing = np.array(result["prompts"]["moved"]), np.array(result["prompts"]["verdict"]) == "vanishing"
    numbers = summary.of_run(result)
    assert numbers["vanishing"] == {"prompts": int(vanishing.sum()), "moved_up": 0.0, "moved": 0.0}
    assert numbers["learnable"]["moved_up"] == pytest.approx(moved[~vanishing].mean())
    assert numbers["auc"]["p_mixed"] == 1 and math.isnan(numbers["rank_correlation"]["std"])
    both = summary.pooled([result, made_up("choose")])["choose grpo-centered"]
    assert both["prompts"] == 400 and both["settings"] == ["capitals"] * 2


TINY = """
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import run, summary
from setting import SETTINGS
tiny, work = replace(SETTINGS["brackets"], prompts=12, completions=16, steps=2, own=2), Path(sys.argv[2])
for trainer in sys.argv[3:]:
    run.attempt(tiny, trainer, work)
    before = (work / "brackets" / trainer / "results.json").stat().st_mtime_ns
    run.attempt(tiny, trainer, work)
    assert (work / "brackets" / trainer / "results.json").stat().st_mtime_ns == before
summary.collect(work, work / "results")
print(summary.tables(summary.read(work / "results")))
"""


@pytest.mark.thorough
def test_a_tiny_setting_from_the_start_to_the_tables(tmp_path):
    pytest.importorskip("trl")
    trainers = ("grpo-normalized", "ppo", "grpo-centered-own")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", TINY, str(FOLDER), str(tmp_path), *trainers]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rewards = {}
    for sample in ("start", "before"):
        table = pq.read_table(tmp_path / "brackets" / sample / "rollouts", columns=["prompt_id", "reward"]).to_pydict()
        for name, reward in zip(table["prompt_id"], table["reward"], strict=True):
            rewards.setdefault((sample, name), []).append(reward)
    assert {len(values) for values in rewards.values()} == {16}
    for trainer in trainers:
        assert f"| brackets | report | {trainer} |" in done.stdout
        prompts = json.loads((tmp_path / "results" / "brackets" / f"{trainer}.json").read_text())["prompts"]
        assert len(prompts["id"]) == (2 if "own" in trainer else 12)
        for i, name in enumerate(prompts["id"]):
            assert prompts["mean"][i] == pytest.approx(np.mean(rewards["start", name]), abs=1e-6)
            assert prompts["before"][i] == pytest.approx(np.mean(rewards["before", name]), abs=1e-6)
            assert prompts["change"][i] == pytest.approx(prompts["after"][i] - prompts["before"][i], abs=2e-6)
            assert prompts["std"][i] == pytest.approx(np.std(rewards["start", name], ddof=1), abs=1e-6)
