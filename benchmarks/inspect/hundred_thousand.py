"""Judging 100,000 prompts of graded rewards, 8 completions each, family by family: seconds of CPU and peak memory.

python benchmarks/inspect/hundred_thousand.py [FAMILY …]

What is timed is everything a verdict takes once the rewards are read: the model's fit, the probability of each verdict, and the limits.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np

from flatspot.stats.evidence import Floats, evidence_of_rows
from flatspot.stats.models.fitted import fit
from flatspot.stats.zones import Zones

PROMPTS, COMPLETIONS = 100_000, 8
FAMILIES = ("few-valued", "continuous", "zero-inflated", "mixed", "two clumps")


def rewards_of(family: str) -> Floats:
    """[prompt, completion] rewards within 0 and 1, or a little outside."""
    rng, shape = np.random.default_rng(0), (PROMPTS, COMPLETIONS)
    level, noise = rng.beta(0.6, 1.2, PROMPTS)[:, None], rng.normal(size=shape)
    partial = rng.binomial(4, level, shape) / 4
    return {
        "few-valued": partial,
        "continuous": 0.1 + 0.8 * level + 0.1 * noise,
        "zero-inflated": (rng.random(shape) < level) * rng.random(shape),
        "mixed": np.where(np.arange(PROMPTS)[:, None] % 2, partial, level + 0.1 * noise),
        "two clumps": level / 2 + np.where(rng.random(shape) < 0.5, 0.0, 0.4) + 0.01 * noise,
    }[family]


def judge(family: str) -> None:
    """Print what one family takes, in a process of its own."""
    rewards = rewards_of(family)
    before = _cpu()
    evidence = evidence_of_rows(np.repeat(np.arange(PROMPTS), COMPLETIONS), rewards.ravel(), PROMPTS)
    model = fit(evidence, np.full(PROMPTS, np.nan), Zones(0.05, lo=min(0.0, rewards.min()), hi=max(1.0, rewards.max())), (4, 8, 16, 32))
    found = (model.states, model.loss, model.std_limits, model.limits, model.best_of(8), model.shares, model.forecast((4, 8, 16, 32)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{family:<14} judged as {model.family:<14} {_cpu() - before:6.1f} s CPU   {peak:5.2f} GiB peak   {len(found[1]):,} prompts",
        flush=True,
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Each family in a process of its own, so that its peak memory is its alone."""
    if len(sys.argv) == 2 and sys.argv[1] in FAMILIES:
        judge(sys.argv[1])
        return
    for family in sys.argv[1:] or FAMILIES:
        subprocess.run([sys.executable, __file__, family], check=True)


if __name__ == "__main__":
    main()
