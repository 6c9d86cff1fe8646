"""What the table of verdicts has beside mean and std, against enumeration and for prompts whose completions a reward decided on."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from flatspot.engines.scripted import ScriptedEngine
from flatspot.flow.diagnose import diagnose
from flatspot.stats.best import best_of_k
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.known_mass import known_mass
from flatspot.stats.models.fitted import fit
from flatspot.stats.models.limits import Limits
from flatspot.stats.models.proved import hold_to_proof, proof_of
from flatspot.stats.zones import Zones, epsilon_for_group
from flatspot.verdicts.numbers import prompt_numbers


def numbers(rewards, *, fair, zones=None):
    zones = zones or Zones(epsilon_for_group(8))
    m, n = rewards.shape
    evidence = evidence_of_rows(np.repeat(np.arange(m), n), rewards.ravel(), m)
    run = SimpleNamespace(evidence=evidence, fair=np.full(m, fair))
    return prompt_numbers(run, fit(evidence, np.full(m, np.nan), zones), np.full(m, np.nan), zones)


def test_the_best_of_k_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    rewards = rng.integers(0, 4, (5, 9)) / 3
    evidence = evidence_of_rows(np.repeat(np.arange(5), 9), rewards.ravel(), 5)
    for k in (1, 2, 4, 9):
        every = [np.mean([max(subset) for subset in itertools.combinations(row, k)]) for row in rewards]
        assert best_of_k(evidence, k) == pytest.approx(every)
    assert np.isnan(best_of_k(evidence, 10)).all()


def test_the_best_of_k_never_passes_the_top_of_a_range():
    """Two prompts nearly always right among thirty that are not: the model's gain belongs to a lower mean than theirs."""
    rewards = np.zeros((32, 6))
    rewards[:2, :5] = 1.0
    rewards[2:, :2] = 1.0
    found = numbers(rewards, fair=False)
    assert (rewards.mean(1) + found.gain).max() > 1.0
    assert found.best_of_k.max() == 1.0
    logits = numbers(rewards * 7 + np.arange(6) / 100, fair=False, zones=Zones(0.05, 0.0, 7.05, stated=False))
    assert logits.best_of_k == pytest.approx(logits.gain + (rewards * 7 + np.arange(6) / 100).mean(1))


def of_known(rewards, masses, family, limits, std_limits):
    """The numbers of one prompt whose completions have these probabilities, beside a fit that says these limits."""
    n, zones = len(rewards), Zones(epsilon_for_group(8))
    evidence = evidence_of_rows(np.zeros(n, int), np.array(rewards), 1)
    run = SimpleNamespace(evidence=evidence, fair=np.zeros(1, bool), n_rows=np.array([n]), n_not_drawn=None)
    fitted = fit(evidence, np.ones(1), zones)
    part = SimpleNamespace(family=family, n=evidence.n, limits=limits, std_limits=std_limits, scale=1.0)
    part.mixed, part.best_of = fitted.mixed, fitted.best_of
    known = known_mass(np.zeros(n, int), np.arange(n), np.array(rewards), np.array(masses), 1)
    model = hold_to_proof(part, proof_of(known, np.ones(1), zones, binary=False))
    return prompt_numbers(run, model, np.ones(1), zones)


def test_limits_that_a_proof_contradicts_become_those_of_the_proof():
    """Rewards 0 and 1/2 with the probabilities 0.5 and 0.45: the other 0.05 is put everywhere."""
    wrong = np.array([[0.0, 0.01]])
    found = of_known([0.0, 0.5], [0.5, 0.45], "graded", Limits(wrong, wrong, wrong), wrong)
    possible = []
    for at in (0.0, 0.5, 0.7, 1.0):
        for share in np.linspace(0, 1, 101):
            values, weights = np.array([0.0, 0.5, at, 1.0, 0.0]), np.array([0.5, 0.45, 0.05 * share, 0.05 * (1 - share), 0.0])
            same = np.array([weights[values == value].sum() for value in np.unique(values)])
            up_to = np.cumsum(same) ** 8
            gain = np.unique(values) @ np.diff(np.r_[0.0, up_to]) - weights @ values
            possible.append([np.sqrt(weights @ values**2 - (weights @ values) ** 2), 1 - (same**8).sum(), gain])
    for limits, true in zip((found.std_limits, found.limits.mixed, found.limits.gain), np.array(possible).T, strict=True):
        assert limits[0, 0] <= true.min() + 1e-6 and limits[0, 1] >= true.max() - 1e-6
        assert limits[0, 1] > limits[0, 0] > 0.01


def test_masses_that_sum_to_a_little_more_than_one_leave_limits():
    whole, masses = np.array([[0.0, 1.0]]), [0.1, 0.05, 0.55, 0.3]
    assert known_mass(np.zeros(4, int), np.arange(4), np.ones(4), np.array(masses), 1).mass[0] > 1
    found = of_known([1.0] * 4, masses, "binary", Limits(whole, whole, whole), whole / 2)
    assert found.std_limits == pytest.approx(np.zeros((1, 2)), abs=1e-6)


def test_completions_that_fail_are_not_taken_for_what_others_earn(tmp_path):
    """Their prompt's mean is that of the rewards there are, within what is proved; and each sentence agrees with its row."""
    answers = {f"{i}": {"yes": 0.9, "no": 0.1} for i in range(8)} | {
        "half": {"yes": 0.05, "no": 0.45, "maybe": 0.5},
        "flat": {"no": 0.9, "yes": 0.1},
    }

    def reward(completions, **_):
        return [None if text == "maybe" else float(text == "yes") for text in completions]

    settings = {"deterministic_reward": True, "reward_range": (0, 1), "max_completions": 12, "fixed_completions": True, "seed": 3}
    run = diagnose([{"prompt": text} for text in answers], ScriptedEngine(answers), reward, out=tmp_path / "run", **settings)
    rows = {row["prompt_id"]: row for row in run.verdicts.to_pylist()}
    drawn = run.rollouts.to_pylist()
    of = {row["prompt"]: row["prompt_id"] for row in drawn}
    seen = [row["reward"] for row in drawn if row["prompt"] == "half" and row["reward"] is not None]
    half = rows[of["half"]]
    assert 2 <= half["n_scored"] == len(seen) < 12
    assert half["mean"] == pytest.approx(np.clip(np.mean(seen), half["mean_proved_lo"], half["mean_proved_hi"]))
    assert half["mean_lo"] <= half["mean"] <= half["mean_hi"]
    for row in rows.values():
        assert f" {row['mean']:.3g}" in row["why"]
