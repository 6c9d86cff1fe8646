"""What the table of verdicts has beside mean and std, against enumeration and for prompts whose completions a reward decided on."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from flatspot.stats.best import best_of_k
from flatspot.stats.evidence import evidence_of_rows
from flatspot.stats.models.fitted import fit
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
