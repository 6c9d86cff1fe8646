"""Measure, train, measure again: one folder per setting and trainer with results.json; what is done is skipped.

    python run.py --work work [--setting words] [--trainer ppo] [--minutes 60]

Kill it and start it again at any time: samples resume in their run folders, a large policy from its last checkpoint. Start it twice for two
cores: a run is claimed by one process.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from measures import Sample, candidates, change
from numpy.typing import NDArray
from own import own_runs
from setting import GROUP_SIZE, OWN_STEPS, SETTINGS, Setting, prompts_of, start_policy
from trainers import SEED, TRAINERS, ppo_rate

import flatspot
from flatspot.core.records import Prompt
from flatspot.core.settings import Advantage

FEWEST = 8  # prompts called vanishing that RL is run on alone: a step's worth


def main() -> None:
    """Work through the settings until all is done or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=list(SETTINGS))
    parser.add_argument("--trainer", choices=list(TRAINERS))
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of samples and checkpoints")
    parser.add_argument("--minutes", type=float, default=1e9)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    for setting in SETTINGS.values():
        for trainer in TRAINERS:
            if time.monotonic() < end and options.setting in (None, setting.name) and options.trainer in (None, trainer):
                attempt(setting, trainer, options.work)


def attempt(setting: Setting, trainer: str, work: Path) -> None:
    """One run, unless it is done or another process has it; a failure is printed, and the next run starts."""
    folder = work / setting.name / trainer
    with claimed(folder / "lock") as mine:
        if not mine or (folder / "results.json").exists():
            return
        try:
            results = run(setting, trainer, work)
        except Exception:
            traceback.print_exc()
            print(f"FAILED {setting.name} {trainer}", flush=True)
            return
        unfinished = folder / "results.json.part"
        unfinished.write_text(json.dumps(results, indent=1), "utf-8")
        unfinished.rename(folder / "results.json")
        for rest in ("train", "after"):
            shutil.rmtree(folder / rest, ignore_errors=True)
        print(f"{time.strftime('%H:%M:%S')} {setting.name} {trainer}: {results.get('seconds', results.get('skipped'))}", flush=True)


def run(setting: Setting, trainer: str, work: Path, *, steps: int | None = None) -> dict[str, Any]:
    """The results of a setting and a trainer: facts of the run, and a list per column of the prompts."""
    how, folder, since = TRAINERS[trainer], work / setting.name / trainer, time.monotonic()
    policy, prompts = start_policy(setting, work), prompts_of(setting)
    with claimed(work / setting.name / "start.lock", wait=True):
        start = measured(setting, policy, prompts, work / setting.name / "start", advantage=how.advantage)
        verdicts = start.verdicts["verdict"].to_pylist()
        before = measured(setting, policy, prompts, work / setting.name / "before", seed=1)
    facts = {"setting": setting.name, "half": setting.half, "kind": setting.kind, "trainer": trainer, "advantage": how.advantage}
    chosen = _chosen(how.on, verdicts, setting)
    if not chosen:
        return facts | {"skipped": f"{verdicts.count('vanishing')} of {len(prompts)} prompts are called vanishing"}
    sampled, some = time.monotonic(), [prompts[i] for i in chosen]
    if how.on == "one":
        after, shown = own_runs(some, policy, setting, folder / "train", how.train), np.array(chosen)
    else:
        checkpoint = how.train(some, policy, setting, folder / "train", steps=steps)
        after, shown = sample_of(measured(setting, str(checkpoint), prompts, folder / "after", seed=2)), np.arange(len(prompts))
    return facts | {
        "steps": OWN_STEPS if how.on == "one" else steps or setting.steps,
        "completions": setting.completions,
        "group_size": GROUP_SIZE,
        "rate": ppo_rate(setting) if trainer == "ppo" else setting.rate,
        "seed": SEED,
        "seconds": round(time.monotonic() - since),
        "rl_seconds": round(time.monotonic() - sampled),
        "machine": f"CPU, {platform.machine()}, OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}",
        "prompts": {
            "id": [prompts[i].id for i in shown],
            "verdict": [verdicts[i] for i in shown],
            "trained_on": [bool(i in set(chosen)) for i in shown],
            **_numbers(start, sample_of(before), after, shown),
        },
    }


def _chosen(on: str, verdicts: Sequence[str], setting: Setting) -> list[int]:
    """The rows that RL is run on; none where no run is due."""
    if on == "one":
        return sorted(set(np.linspace(0, len(verdicts) - 1, setting.own).round().astype(int).tolist()))
    flat = [i for i, verdict in enumerate(verdicts) if verdict == "vanishing"]
    if on == "vanishing":
        return flat if FEWEST <= len(flat) < len(verdicts) else []
    return list(range(len(verdicts)))


def _numbers(start: flatspot.Run, before: Sample, after: Sample, shown: NDArray[np.int64]) -> dict[str, list[float]]:
    """Columns of the prompts `shown`: what may foretell, and what happened."""
    columns = {name: start.numbers(name) for name in ("mean", "std", "r_star", "relative_std", "p_mixed", "gain", "relative_gain")}
    first, second = sample_of(start).of(shown), before.of(shown)
    difference, error, moved = change(second, after)
    numbers = {name: values[shown] for name, values in candidates(columns, top=1.0).items()}
    numbers |= {"mean": first.mean, "before": second.mean, "after": after.mean, "change": difference, "error": error}
    signs = {"moved": moved, "moved_untrained": change(first, second)[2]}
    return {name: np.round(values, 6).tolist() for name, values in numbers.items()} | {name: sign.tolist() for name, sign in signs.items()}


def measured(
    setting: Setting, policy: str, prompts: Sequence[Prompt], folder: Path, *, seed: int = 0, advantage: Advantage = "centered"
) -> flatspot.Run:
    """A fixed number of completions of every prompt, and the verdicts on them."""
    return flatspot.diagnose(
        list(prompts), policy, setting.reward, out=folder, seed=seed, advantage=advantage, engine="hf", dtype="float32", device="cpu",
        max_completions=setting.completions, fixed_completions=True, group_size=GROUP_SIZE, max_new_tokens=setting.max_new_tokens,
        reward_range=(0.0, 1.0), top_reachable=setting.reachable,
    )  # fmt: skip


def sample_of(run: flatspot.Run) -> Sample:
    """Mean and std of each prompt's rewards; ValueError where a completion has none."""
    evidence = run.evidence
    n = int(evidence.n.max())
    if not (evidence.n == n).all():
        raise ValueError(f"{run.folder}: {int((evidence.n < n).sum())} prompts have completions without a reward")
    return Sample(evidence.mean, evidence.std, n)


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock; it ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    main()
