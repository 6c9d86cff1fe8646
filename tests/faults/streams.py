"""Synthetic reward streams of healthy runs: groups of rewards as they might come, without a model."""

from __future__ import annotations

from collections import Counter

import numpy as np

from flatspot.stats.evidence import Floats
from flatspot.training.watch.live import Batch, Live, Scoring
from flatspot.verdicts.alarms import Trainer, find_alarms

STEPS, GROUPS, PROMPTS = 60, 8, 100


def healthy(seed: int) -> list[str]:
    """Run one stream; the causes that were named at any of its steps, all of them false."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([4, 8, 16]))
    kind = rng.choice(["0/1", "0/1", "share", "format", "-1/1"])
    p = rng.beta(rng.uniform(0.3, 2.0), rng.uniform(0.3, 2.0), PROMPTS)
    while (1 - p**size - (1 - p) ** size).mean() < 0.25:  # a set with fewer informative groups is not what is meant by healthy
        p = rng.beta(rng.uniform(0.3, 2.0), rng.uniform(0.3, 2.0), PROMPTS)
    fails, cut, short, drift = rng.uniform(0, 0.03), rng.uniform(0, 0.4), rng.random() < 0.3, rng.uniform(0, 0.003)
    names = ("accuracy", "format") if kind == "format" else ("reward",)
    live, causes = Live(names), []
    live.scoring = Scoring(np.array([1.0, 0.3][: len(names)]))
    for step in range(STEPS):
        prompt = np.repeat(rng.choice(PROMPTS, GROUPS, replace=False), size)
        parts = _rewards(rng, str(kind), np.clip(p[prompt] + drift * step * (1 - p[prompt]), 0, 1), step)
        parts[:, rng.random(len(prompt)) < fails] = np.nan
        # a short answer comes again and again, and earns the same each time
        texts = (parts[0] * 1e6 + prompt * 1e9) if short and kind != "share" else rng.integers(0, 2**40, len(prompt))
        failed = int(np.isnan(parts).all(0).sum())
        cuts = (rng.random(len(prompt)) < cut).astype(float)
        live.absorb(Batch(step, prompt, parts, np.nan_to_num(np.asarray(texts, float), nan=-1.0), cuts, failed, False), size)
        rate = 1e-6 * (1 - step / STEPS)
        log = Trainer([rate] * 3, [0.0], [rng.lognormal()] * 3, [rng.uniform(0, 0.2)] * 6, False, step > 0.9 * STEPS)
        causes += [alarm.cause for alarm in find_alarms(live.window(), log)]
    return causes


def _rewards(rng: np.random.Generator, kind: str, p: Floats, step: int) -> Floats:
    hit = (rng.random(len(p)) < p).astype(float)
    if kind == "share":
        return np.clip(rng.normal(p, 0.1), 0, 1)[None]
    if kind == "format":
        return np.stack([hit, (rng.random(len(p)) < min(1.0, 0.5 + step / 40)).astype(float)])
    return (2 * hit - 1 if kind == "-1/1" else hit)[None]


def false_alarms(runs: int) -> tuple[int, int, dict[str, int]]:
    """(runs with a false alarm at any step, runs, how often each cause was named)."""
    named = [set(healthy(seed)) for seed in range(runs)]
    return sum(map(bool, named)), runs, dict(Counter(cause for causes in named for cause in causes))
