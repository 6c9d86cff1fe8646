"""Populations of binary rewards: name -> (number of prompts, rng) -> `Prompts`. Nobody tunes flatspot to those of held_back.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from truths import of_chances

REAL = Path(__file__).parents[1] / "triage" / "real_rewards.parquet"
_TASKS, _OF_A_TASK = 8, 20_000


def mixture(*parts):
    """Of (share, p or a sampler of p) pairs."""
    share = np.array([part[0] for part in parts])

    def sample(m, rng):
        kind, p = rng.choice(len(parts), m, p=share / share.sum()), np.empty(m)
        for i, (_, law) in enumerate(parts):
            mine = kind == i
            p[mine] = law(rng, mine.sum()) if callable(law) else law
        return of_chances(p)

    return sample


def uniform(low, high):
    return lambda rng, m: rng.uniform(low, high, m)


def beta(a, b):
    return lambda rng, m: rng.beta(a, b, m)


def log_normal(middle, spread):
    return lambda rng, m: np.minimum(np.exp(rng.normal(np.log(middle), spread, m)), 1.0)


def tasks(of_tasks):
    """Prompts of 8 tasks, each with a difficulty of its own; `of_tasks`: they stand for prompts of these tasks, else of new ones."""

    def sample(m, rng):
        middle, concentration = rng.beta(0.5, 0.9, _TASKS), 12.0

        def chances(task):
            return rng.beta(np.maximum(middle[task] * concentration, 1e-3), np.maximum((1 - middle[task]) * concentration, 1e-3))

        task = rng.integers(0, _TASKS, m)
        p = chances(task)
        like = of_chances(chances(rng.integers(0, _TASKS, _OF_A_TASK))).shares() if of_tasks else None
        return of_chances(p, task=task, like=like)

    return sample


@cache
def _real_chances():
    table = pq.read_table(REAL, columns=["prompt_id", "reward"])
    _, prompt = np.unique(table["prompt_id"].to_numpy(), return_inverse=True)
    return np.bincount(prompt, table["reward"].to_numpy()) / np.bincount(prompt)


def real(m, rng):
    """SmolLM2-135M-Instruct on reasoning-gym prompts: 256 completions of 279 prompts stand for the policy, drawn with replacement."""
    p = _real_chances()
    return of_chances(p[rng.integers(0, len(p), m)])


BINARY = {
    ".04, .5": mixture((0.6, 0.04), (0.4, 0.5)),
    ".045, .5": mixture((0.28, 0.045), (0.72, 0.5)),
    ".02, .12, .98": mixture((1, 0.02), (1, 0.12), (1, 0.98)),
    "0, .11": mixture((0.5, 0.0), (0.5, 0.11)),
    ".005, .13, .88": mixture((1, 0.005), (1, 0.13), (1, 0.88)),
    ".02, .101": mixture((0.8, 0.02), (0.2, 0.101)),
    ".02, .3": mixture((0.5, 0.02), (0.5, 0.3)),
    "log-normal": mixture((1, log_normal(0.03, 1.5))),
    "mass in .03-.08": mixture((0.7, uniform(0.03, 0.08)), (0.3, uniform(0.2, 0.8))),
    "uniform .90-.97": mixture((1, uniform(0.90, 0.97))),
    "95% vanishing": mixture((0.95, uniform(0, 0.03)), (0.05, uniform(0.1, 0.9))),
    "8 tasks": tasks(True),
    "8 tasks, new ones": tasks(False),
    "hard": mixture((0.4, 0.0), (0.1, 1.0), (0.5, beta(0.6, 1.2))),
    "easy": mixture((0.1, 0.0), (0.45, 0.995), (0.45, uniform(0, 1))),
    "no atoms": mixture((1, beta(0.25, 1))),
    "u-shaped": mixture((1, beta(0.15, 0.15))),
    "saturated": mixture((0.7, 1.0), (0.3, beta(4, 1))),
    "mostly learnable": mixture((1, beta(2, 2))),
    "real": real,
}
CLUSTERED = ("8 tasks", "8 tasks, new ones")
