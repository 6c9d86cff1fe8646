"""The yardstick itself: the truths of benchmarks/claims against plain samples, its judgments against sums by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "claims"))

from claimed import CLAIMED
from judge import rows_of
from measure import FAMILIES, Observed
from oracle import fewest_completions
from truths import EPSILON, GROUP, of_chances

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAMILIES)
def test_truths_are_those_of_samples(name):
    rng, groups = np.random.default_rng(1), 1500
    prompts = FAMILIES[name][1](40, rng)
    rewards = prompts.draw(np.arange(40), GROUP * groups, rng).reshape(40, groups, GROUP)
    assert prompts.stated is False or (rewards.min() >= prompts.low - 0.1 and rewards.max() <= prompts.high + 0.1)
    for seen, truth in (
        (rewards.mean(-1), prompts.mean),
        (rewards.max(-1) - rewards.mean(-1), prompts.gain),
        (np.ptp(rewards, axis=-1) > 0, prompts.mixed()),
    ):
        # a standard error that knows of what none of 1,500 groups showed
        noise = np.sqrt((seen.var(1) + np.ptp(rewards) ** 2 / groups) / groups)
        assert (np.abs(seen.mean(1) - truth) < 5 * noise).all()
    assert np.allclose(rewards.std((1, 2)), prompts.std, rtol=0.2, atol=0.03 * np.ptp(rewards))


def test_binary_losses_are_thresholds_on_p():
    p = np.array([0.0, EPSILON / 2 - 1e-4, EPSILON / 2 + 1e-4, 2 * EPSILON - 1e-4, 2 * EPSILON + 1e-4, 1 - 2 * EPSILON + 1e-4, 1.0])
    assert of_chances(p).wrong().astype(int).tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0], [1, 1, 0]]


def test_fewest_completions_of_two_points():
    # p is 0 or 0.5 at even odds, and never solved: after n zeros the posterior of 0.5 is 2^-n / (1 + 2^-n), a single one settles it
    p = np.repeat([0.0, 0.5], 5000)
    cheapest = fewest_completions(p, of_chances(p).wrong(), (0.05, 0.01))

    def rule(n):  # two, then until the first one, at most n
        until = 2 * (0.5 + 0.25) + sum(i * 0.5**i for i in range(3, n)) + n * 0.5 ** (n - 1)
        return (n + until) / 2, 0.5**n / 2

    for target, cost in cheapest.items():
        allowed = [rule(n) for n in range(3, 12) if rule(n)[1] <= target]
        assert cost == pytest.approx(allowed[0][0], abs=1e-6)


@pytest.mark.parametrize(("page", "words", "backed_by"), CLAIMED)
def test_every_statement_is_still_made_and_backed(page, words, backed_by):
    assert words in " ".join((ROOT / page).read_text().split())
    if backed_by.startswith("tests/"):
        assert (ROOT / backed_by).is_file()
    else:
        results = json.loads((ROOT / "benchmarks" / "claims" / "results.json").read_text())["jobs"]
        assert any(row["number"].startswith(backed_by) for job in results.values() for row in job["rows"])


def test_what_holds():
    seen = Observed()
    for realized, said in ((0.05, False), (0.07, False), (0.5, True)):
        seen.error("error, 5% target", 0.05, realized, said)
    for truth in (0.1, 0.2, 0.9):
        seen.inside("share vanishing", truth, 0.0, 0.5, 0.95)
    seen.cost("completions, 5% target", 4.0, 5.5)
    error, share, cost = rows_of(seen, {"set": "a"})
    assert error["holds"] and error["said"] == pytest.approx(1 / 3) and error["silent"] == pytest.approx(0.06)
    assert not share["holds"] and share["realized"] == pytest.approx(2 / 3) and share["noise"]
    assert not cost["holds"] and cost["ratio"] == pytest.approx(1.375)
